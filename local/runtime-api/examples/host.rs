//! Invokes a function once with `{"do": "pid"}`, prints the response and stays: `host PROGRAM [ARGUMENT…]`.

use std::{future, sync::Arc};

use runtime_api::{Function, FunctionConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().ok_or("usage: host PROGRAM [ARGUMENT…]")?;
    let function = Function::start(FunctionConfig {
        args: arguments.collect(),
        log: Arc::new(|line| eprintln!("{line}")),
        ..FunctionConfig::new("hosted", program)
    });
    let response = function.invoke(r#"{"do":"pid"}"#).await?;
    println!("{}", String::from_utf8_lossy(&response));
    future::pending().await
}
