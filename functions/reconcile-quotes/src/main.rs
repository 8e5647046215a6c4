//! The executable of reconcile-quotes.

use std::process::ExitCode;

use function_kit::aws;
use reconcile_quotes::{BronzeBucket, Config, LoadQueue, ReconcileQuotes};
use warehouse::Warehouse;

fn main() -> ExitCode {
    function_kit::run(reconcile_quotes::ABOUT, async |mut environment| {
        let sdk = aws::sdk_config(&mut environment);
        let config = Config::read(environment)?;
        let s3 = aws_sdk_s3::Client::from_conf(
            aws_sdk_s3::config::Builder::from(&sdk).force_path_style(sdk.endpoint_url().is_some()).build(),
        );
        let bucket = BronzeBucket::new(s3, config.bronze_bucket);
        let queue = LoadQueue::new(aws_sdk_sqs::Client::new(&sdk), config.archived_queue_url);
        let warehouse = Warehouse::connect(config.warehouse).await?;
        let handler = ReconcileQuotes::new(bucket, warehouse, queue, config.margin, config.grace);
        Ok(async move |event| handler.handle(event).await)
    })
}
