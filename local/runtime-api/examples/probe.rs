//! A function that does what its event says, for the tests.

use std::{env, future, io::Write as _, process};

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match env::var("PROBE_INIT").as_deref() {
        Ok("exit") => process::exit(3),
        Ok("hang") => future::pending().await,
        Ok("panic") => panic!("no configuration"),
        _ => run(service_fn(handle)).await,
    }
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (event, context) = event.into_parts();
    match event["do"].as_str() {
        Some("pid") => Ok(json!(process::id())),
        Some("context") => Ok(json!({
            "request_id": context.request_id,
            "deadline": context.deadline,
            "arn": context.invoked_function_arn,
            "trace": context.xray_trace_id,
            "memory": context.env_config.memory,
            "name": context.env_config.function_name,
        })),
        Some("environment") => Ok(env::vars().map(|(name, value)| (name, json!(value))).collect()),
        Some("log") => {
            println!("to stdout");
            eprintln!("to stderr");
            Ok(Value::Null)
        }
        Some("large") => Ok(json!("x".repeat(7 * 1024 * 1024))),
        Some("spawn") => Ok(json!(process::Command::new("sleep").arg("600").spawn()?.id())),
        Some("error") => Err("said so".into()),
        Some("panic") => panic!("lost my head"),
        Some("hang") => {
            println!("hanging as {}", process::id());
            future::pending().await
        }
        Some("crash") => {
            print!("last words");
            std::io::stdout().flush()?;
            process::exit(7)
        }
        _ => Ok(event),
    }
}
