//! The executable of archive-quotes.

use std::process::ExitCode;

use archive_quotes::{ArchiveQuotes, BucketStore, Config};
use function_kit::aws;

fn main() -> ExitCode {
    function_kit::run(env!("CARGO_PKG_NAME"), archive_quotes::ABOUT, async |mut environment| {
        let sdk = aws::sdk_config(&mut environment);
        let s3 = aws::s3(&sdk, &mut environment);
        let config = Config::read(environment)?;
        let store = |bucket| BucketStore::new(s3.clone(), bucket);
        let handler = ArchiveQuotes::new(store(config.bronze_bucket), store(config.quarantine_bucket));
        Ok(async move |event| handler.handle(event).await)
    })
}
