//! The executable of archive-quotes.

use std::process::ExitCode;

use archive_quotes::{ArchiveQuotes, BucketStore, Config};
use function_kit::aws;

fn main() -> ExitCode {
    function_kit::run(env!("CARGO_PKG_NAME"), archive_quotes::ABOUT, async |mut environment| {
        let sdk = aws::sdk_config(&mut environment);
        let s3 = aws::s3(&sdk, &mut environment);
        let s3_is_aws = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
            .iter()
            .all(|name| environment.optional::<String>(name).is_none());
        let config = Config::read(environment)?;
        if !s3_is_aws {
            aws::check_write_once(&s3, &config.quarantine_bucket).await?;
        }
        let store = |bucket| BucketStore::new(s3.clone(), bucket);
        let (bronze, quarantine) = (store(config.bronze_bucket), store(config.quarantine_bucket));
        let handler = ArchiveQuotes::new(bronze, quarantine, config.layout);
        Ok(async move |event| handler.handle(event).await)
    })
}
