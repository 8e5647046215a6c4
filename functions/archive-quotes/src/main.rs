//! The executable of archive-quotes.

use std::process::ExitCode;

use archive_quotes::{ArchiveQuotes, BucketStore, Config};
use function_kit::aws;

fn main() -> ExitCode {
    function_kit::run(archive_quotes::ABOUT, async |mut environment| {
        let sdk = aws::sdk_config(&mut environment);
        let config = Config::read(environment)?;
        let s3 = aws_sdk_s3::Client::from_conf(
            aws_sdk_s3::config::Builder::from(&sdk).force_path_style(sdk.endpoint_url().is_some()).build(),
        );
        let store = |bucket| BucketStore::new(s3.clone(), bucket);
        let handler = ArchiveQuotes::new(store(config.bronze_bucket), store(config.quarantine_bucket));
        Ok(async move |event| handler.handle(event).await)
    })
}
