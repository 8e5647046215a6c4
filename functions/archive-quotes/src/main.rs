//! The executable of archive-quotes.

use std::process::ExitCode;

use archive_quotes::{ArchiveQuotes, BucketStore, Config};
use function_kit::aws;

fn main() -> ExitCode {
    function_kit::run(&archive_quotes::ABOUT, async |mut environment| {
        let sdk = aws::sdk_config(&mut environment);
        let s3 = aws::s3(&sdk, &mut environment);
        let is_other_server =
            environment.is_set("AWS_ENDPOINT_URL_S3") || environment.is_set("AWS_ENDPOINT_URL");
        let config = Config::read(environment)?;
        if is_other_server {
            aws::check_write_once(&s3, &config.quarantine_bucket).await?;
        }
        let store = |bucket| BucketStore::new(s3.clone(), bucket);
        let (bronze, quarantine) = (store(config.bronze_bucket), store(config.quarantine_bucket));
        let handler = ArchiveQuotes::new(bronze, quarantine, config.layout);
        Ok(async move |event| handler.handle(event).await)
    })
}
