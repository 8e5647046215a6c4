//! Measures the store's maximum: writes objects with the functions' S3 client and does nothing else.
//!
//! `put_objects BUCKET PREFIX COUNT BYTES AT_ONCE...` writes COUNT objects of BYTES bytes for each `AT_ONCE`, with so
//! many requests at once, under `PREFIX/AT_ONCE/`. Like archive-quotes, it overwrites no object. `AWS_ENDPOINT_URL`
//! names the server. For each `AT_ONCE` it prints a line of JSON:
//! `{"at_once": 16, "objects": 2000, "seconds": 1.9, "cpu_seconds": 0.4}`.
//! `make bench` compares archive-quotes with the best of them.

use std::{
    error::Error,
    fs,
    time::{Duration, Instant},
};

use aws_sdk_s3::{Client, primitives::ByteStream};
use function_kit::{Environment, aws};
use futures::{StreamExt, TryStreamExt, stream};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bucket, prefix, count, bytes, at_once @ ..] = arguments.as_slice() else {
        return Err("usage: put_objects BUCKET PREFIX COUNT BYTES AT_ONCE...".into());
    };
    let (count, body): (usize, Vec<u8>) = (count.parse()?, vec![b'x'; bytes.parse()?]);
    let mut environment = Environment::of_process(&[aws::VARIABLES, aws::S3_VARIABLES]);
    let sdk = aws::sdk_config(&mut environment);
    let s3 = aws::s3(&sdk, &mut environment);
    // The functions' own runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for at_once in at_once {
        let (start, cpu) = (Instant::now(), cpu_time()?);
        let prefix = format!("{prefix}/{at_once}");
        runtime.block_on(write(&s3, bucket, &prefix, count, &body, at_once.parse()?))?;
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_time()? - cpu);
        println!(
            r#"{{"at_once": {at_once}, "objects": {count}, "seconds": {seconds:.6}, "cpu_seconds": {cpu:.6}}}"#
        );
    }
    Ok(())
}

async fn write(
    s3: &Client,
    bucket: &str,
    prefix: &str,
    count: usize,
    body: &[u8],
    at_once: usize,
) -> Result<(), String> {
    stream::iter(0..count)
        .map(|number| async move {
            let put = s3
                .put_object()
                .bucket(bucket)
                .key(format!("{prefix}/{number}.json"))
                .content_type("application/json")
                .if_none_match("*")
                .body(ByteStream::from(body.to_vec()));
            put.send().await.map_err(|error| aws::CallError::from(error).reason)
        })
        .buffer_unordered(at_once)
        .try_for_each(|_| async { Ok(()) })
        .await
}

/// The CPU seconds of this process so far, all threads together, as the scheduler counts them.
fn cpu_time() -> Result<f64, Box<dyn Error>> {
    let mut nanoseconds = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let statistics = fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += statistics.split_whitespace().next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds).as_secs_f64())
}
