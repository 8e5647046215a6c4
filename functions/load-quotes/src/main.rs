//! The executable of load-quotes.

use std::process::ExitCode;

use function_kit::aws;
use load_quotes::{Bucket, Config, LoadQuotes};
use warehouse::Warehouse;

fn main() -> ExitCode {
    function_kit::run(&load_quotes::ABOUT, async |environment| {
        let mut environment = environment.with_secrets().await?;
        let sdk = aws::sdk_config(&mut environment);
        let s3 = aws::s3(&sdk, &mut environment);
        let config = Config::read(environment)?;
        let warehouse = Warehouse::connect(config.warehouse).await?;
        let handler = LoadQuotes::new(Bucket::new(s3), warehouse);
        Ok(async move |event| handler.handle(event).await)
    })
}
