//! The executable of fetch-quotes.

use std::process::ExitCode;

use fetch_quotes::{Config, FetchQuotes, Finnhub, Stream};

fn main() -> ExitCode {
    function_kit::run(env!("CARGO_PKG_NAME"), fetch_quotes::ABOUT, async |environment| {
        let config = Config::read(environment.with_secrets(&fetch_quotes::SECRETS).await?)?;
        let finnhub = Finnhub::new(&config.finnhub, config.polling.limits())?;
        let stream = Stream::new(&config.kafka)?;
        stream.create_topic().await?;
        stream.is_ready().await;
        let handler = FetchQuotes::new(config.polling, finnhub, stream);
        Ok(async move |event| handler.handle(event).await)
    })
}
