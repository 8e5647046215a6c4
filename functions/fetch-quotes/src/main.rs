//! The executable of fetch-quotes.

use std::process::ExitCode;

use fetch_quotes::{Config, FetchQuotes, Finnhub, Stream};

fn main() -> ExitCode {
    function_kit::run(fetch_quotes::ABOUT, async |environment| {
        let config = Config::read(environment)?;
        let finnhub = Finnhub::new(&config.finnhub, config.polling.limits())?;
        let stream = Stream::new(&config.kafka)?;
        let handler = FetchQuotes::new(config.polling, finnhub, stream);
        Ok(async move |event| handler.handle(event).await)
    })
}
