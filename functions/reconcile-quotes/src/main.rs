//! The executable of reconcile-quotes.

use std::process::ExitCode;

use function_kit::aws;
use reconcile_quotes::{BronzeBucket, Config, LoadQueue, ReconcileQuotes};
use warehouse::Warehouse;

fn main() -> ExitCode {
    function_kit::run(&reconcile_quotes::ABOUT, async |environment| {
        let mut environment = environment.with_secrets().await?;
        let sdk = aws::sdk_config(&mut environment);
        let s3 = aws::s3(&sdk, &mut environment);
        let config = Config::read(environment)?;
        let bucket = BronzeBucket::new(s3, config.bronze_bucket);
        let queue = LoadQueue::new(aws::sqs(&sdk), config.archived_queue_url);
        let warehouse = Warehouse::connect(config.warehouse).await?;
        let handler = ReconcileQuotes::new(bucket, warehouse, queue, config.margin, config.grace);
        Ok(async move |event| handler.handle(event).await)
    })
}
