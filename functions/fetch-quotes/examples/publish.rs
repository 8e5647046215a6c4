//! Measures how fast quotes can be published: sends them as fetch-quotes does, without requests to Finnhub.
//!
//! `publish SERVERS TOPIC COUNT` sends COUNT quotes of 500 symbols at once, waits until Kafka has acknowledged each, and
//! prints a line of JSON: `{"published": 50000, "seconds": 0.6}`. `make bench` runs it.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use fetch_quotes::{KafkaConfig, Stream};
use quotes::Quote;

/// Longer than a record's own timeout.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, topic, count] = arguments.as_slice() else {
        return Err("usage: publish SERVERS TOPIC COUNT".into());
    };
    let mut quotes = Vec::new();
    for number in 0..count.parse()? {
        let body = br#"{"c":170.84,"d":0.59,"dp":0.3466,"h":171.26,"l":169.44,"o":170.1,"pc":170.25,"t":1550174518}"#;
        quotes.push(Quote::observe(
            &format!("S{}", number % 500).parse()?,
            1_700_000_000_000 + number,
            body,
        )?);
    }
    // The functions' own runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let seconds = runtime.block_on(publish(servers, topic, &quotes))?;
    println!(r#"{{"published": {count}, "seconds": {seconds:.6}}}"#);
    Ok(())
}

async fn publish(servers: &str, topic: &str, quotes: &[Quote]) -> Result<f64, Box<dyn Error>> {
    let stream = Stream::new(&KafkaConfig::plaintext(servers.to_owned(), topic.to_owned()))?;
    if !stream.is_ready().await {
        return Err(format!("no broker answers at {servers}").into());
    }
    let start = Instant::now();
    let deliveries: Vec<_> = quotes.iter().map(|quote| stream.send(quote)).collect();
    for delivery in deliveries {
        stream.delivered(delivery, PATIENCE).await?;
    }
    Ok(start.elapsed().as_secs_f64())
}
