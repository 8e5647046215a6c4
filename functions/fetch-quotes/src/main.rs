//! The executable of fetch-quotes.

use std::{process::ExitCode, sync::Arc};

use fetch_quotes::{Config, FetchQuotes, Finnhub, Stream};

fn main() -> ExitCode {
    function_kit::run(&fetch_quotes::ABOUT, async |environment| {
        let config = Config::read(environment.with_secrets().await?)?;
        let finnhub = Finnhub::new(&config.finnhub, config.polling.limits())?;
        let stream = Stream::new(&config.kafka)?;
        let handler = Arc::new(FetchQuotes::new(config.polling, finnhub, stream));
        // Kafka takes half a second; Lambda hands over the first event meanwhile.
        let connecting = Arc::clone(&handler);
        tokio::spawn(async move { connecting.connect().await });
        Ok(async move |event| handler.handle(event).await)
    })
}
