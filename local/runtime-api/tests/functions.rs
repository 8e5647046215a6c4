//! Functions with the real runtime client, well-behaved and misbehaving. The function is `examples/probe.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{os::fd::OwnedFd, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use runtime_api::{Function, FunctionConfig, InvokeError};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    sync::mpsc,
};

fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not there: run `cargo build -p runtime-api --examples`", path.display());
    path
}

fn probe() -> FunctionConfig {
    FunctionConfig::new("probe", example("probe"))
}

/// The config, with its log lines sent to the receiver.
fn logged(config: FunctionConfig) -> (FunctionConfig, mpsc::UnboundedReceiver<String>) {
    let (sender, lines) = mpsc::unbounded_channel();
    let log = Arc::new(move |line: &str| drop(sender.send(line.to_owned())));
    (FunctionConfig { log, ..config }, lines)
}

async fn line_with(lines: &mut mpsc::UnboundedReceiver<String>, part: &str) -> String {
    loop {
        let line = lines.recv().await.expect("the line comes before the log ends");
        if line.contains(part) {
            return line;
        }
    }
}

async fn invoke(function: &Function, event: &Value) -> Result<Value, InvokeError> {
    function.invoke(event.to_string()).await.map(|response| serde_json::from_slice(&response).unwrap())
}

async fn pid(function: &Function) -> i32 {
    process_id(&invoke(function, &json!({"do": "pid"})).await.unwrap())
}

fn process_id(value: &Value) -> i32 {
    i32::try_from(value.as_i64().unwrap()).unwrap()
}

/// Something to await the end of a process with that need not be our child.
struct Process(Pid, OwnedFd);

impl Process {
    fn new(id: i32) -> Self {
        let id = Pid::from_raw(id).unwrap();
        Self(id, pidfd_open(id, PidfdFlags::empty()).unwrap())
    }

    async fn ended(&self) {
        let pidfd = self.1.try_clone().unwrap();
        let wait = move || poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
        tokio::task::spawn_blocking(wait).await.unwrap();
    }
}

#[tokio::test]
async fn an_event_goes_in_and_a_response_comes_out_of_one_warm_process() {
    let function = Function::start(probe());
    let event = json!({"records": [1, 2.5, "ü"], "nested": {"null": null}});
    assert_eq!(invoke(&function, &event).await.unwrap(), event);
    assert_eq!(pid(&function).await, pid(&function).await);
    function.stop().await;
}

#[tokio::test]
async fn concurrent_invocations_wait_for_their_turn_and_get_their_own_response() {
    let function = Function::start(probe());
    let events: Vec<_> = (0..20).map(|number| json!({"number": number})).collect();
    let mut running = tokio::task::JoinSet::new();
    let function = Arc::new(function);
    for event in events {
        let function = Arc::clone(&function);
        running.spawn(async move { assert_eq!(invoke(&function, &event).await.unwrap(), event) });
    }
    assert_eq!(running.join_all().await.len(), 20);
}

#[tokio::test]
async fn the_context_is_lambdas() {
    let function = Function::start(FunctionConfig {
        memory_mb: 512,
        env: vec![("AWS_REGION".to_owned(), "eu-west-1".to_owned())],
        ..probe()
    });
    let context = invoke(&function, &json!({"do": "context"})).await.unwrap();
    assert_eq!(context["arn"], "arn:aws:lambda:eu-west-1:000000000000:function:probe");
    assert_eq!((&context["name"], &context["memory"]), (&json!("probe"), &json!(512)));
    assert!(context["trace"].as_str().unwrap().starts_with("Root=1-"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let left = u128::from(context["deadline"].as_u64().unwrap()).saturating_sub(now.as_millis());
    assert!((1..=60_000).contains(&left), "{left}");
    let next = invoke(&function, &json!({"do": "context"})).await.unwrap();
    assert_ne!(next["request_id"], context["request_id"]);
}

#[tokio::test]
async fn a_function_sees_its_own_variables_and_none_of_ours() {
    let own =
        vec![("TABLE".to_owned(), "quotes".to_owned()), ("TZ".to_owned(), "America/New_York".to_owned())];
    let function = Function::start(FunctionConfig { env: own, ..probe() });
    let environment = invoke(&function, &json!({"do": "environment"})).await.unwrap();
    let environment = environment.as_object().unwrap();
    let inherited = ["PATH", "HOME", "TMPDIR", "LANG"];
    for name in environment.keys() {
        let lambdas =
            name.starts_with("AWS_") || ["LAMBDA_TASK_ROOT", "_X_AMZN_TRACE_ID"].contains(&name.as_str());
        assert!(
            lambdas || inherited.contains(&name.as_str()) || ["TABLE", "TZ"].contains(&name.as_str()),
            "{name}"
        );
    }
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert_eq!(environment["TABLE"], "quotes");
    assert_eq!(environment["TZ"], "America/New_York");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_VERSION"], "$LATEST");
    assert_eq!(environment["AWS_ACCESS_KEY_ID"], "local");
}

#[tokio::test]
async fn log_lines_of_both_streams_arrive() {
    let (config, mut lines) = logged(probe());
    let function = Function::start(config);
    invoke(&function, &json!({"do": "log"})).await.unwrap();
    function.stop().await;
    let mut seen = vec![line_with(&mut lines, "to std").await, line_with(&mut lines, "to std").await];
    seen.sort();
    assert_eq!(seen, ["to stderr", "to stdout"]);
}

#[tokio::test]
async fn errors_and_panics_are_reported_and_the_process_lives_on() {
    let function = Function::start(probe());
    let before = pid(&function).await;
    for (what, expected) in [("error", "said so"), ("panic", "lost my head")] {
        match invoke(&function, &json!({"do": what})).await {
            Err(InvokeError::Function { error_type, message }) => {
                assert!(message.contains(expected), "{message}");
                assert!(!error_type.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pid(&function).await, before);
}

#[tokio::test]
async fn an_event_that_the_function_cannot_read_is_its_error() {
    let function = Function::start(probe());
    assert!(matches!(function.invoke("{not json").await, Err(InvokeError::Function { .. })));
}

#[tokio::test]
async fn a_response_beyond_lambdas_limit_is_an_error() {
    let function = Function::start(probe());
    match invoke(&function, &json!({"do": "large"})).await {
        Err(InvokeError::Function { error_type, .. }) => {
            assert_eq!(error_type, "Function.ResponseSizeTooLarge");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(invoke(&function, &json!(1)).await.unwrap(), json!(1));
}

#[tokio::test]
async fn a_timeout_kills_the_process_and_the_next_invocation_gets_a_new_one() {
    let (config, mut lines) = logged(FunctionConfig { timeout: Duration::from_secs(2), ..probe() });
    let function = Function::start(config);
    let before = Process::new(pid(&function).await);
    match invoke(&function, &json!({"do": "hang"})).await {
        Err(InvokeError::Timeout(after)) => assert_eq!(after, Duration::from_secs(2)),
        other => panic!("{other:?}"),
    }
    before.ended().await;
    assert!(line_with(&mut lines, "hanging as").await.ends_with(&before.0.to_string()));
    assert_ne!(pid(&function).await, before.0.as_raw_pid());
}

#[tokio::test]
async fn a_crash_fails_the_invocation_with_its_status_after_its_last_words() {
    let (config, mut lines) = logged(probe());
    let function = Function::start(config);
    match invoke(&function, &json!({"do": "crash"})).await {
        Err(InvokeError::Crashed { status }) => assert_eq!(status.unwrap().code(), Some(7)),
        other => panic!("{other:?}"),
    }
    assert_eq!(lines.try_recv().unwrap(), "last words");
    assert_eq!(invoke(&function, &json!(1)).await.unwrap(), json!(1));
}

#[tokio::test]
async fn a_process_that_dies_between_invocations_is_replaced_unnoticed() {
    let function = Function::start(probe());
    let before = Process::new(pid(&function).await);
    kill_process(before.0, Signal::KILL).unwrap();
    before.ended().await;
    assert_ne!(pid(&function).await, before.0.as_raw_pid());
}

#[tokio::test]
async fn kill_ends_a_running_invocation_and_the_queue_goes_on() {
    let (config, mut lines) = logged(probe());
    let function = Function::start(config);
    let hang = json!({"do": "hang"});
    let (hanging, waiting, ()) = tokio::join!(
        invoke(&function, &hang),
        async {
            tokio::task::yield_now().await;
            pid(&function).await
        },
        async {
            line_with(&mut lines, "hanging as").await;
            function.kill().await;
        },
    );
    match hanging {
        Err(InvokeError::Crashed { status }) => {
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status.unwrap()), Some(9));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pid(&function).await, waiting);

    let idle = Process::new(waiting);
    function.kill().await;
    idle.ended().await;
    assert_ne!(pid(&function).await, waiting);
}

#[tokio::test]
async fn an_invocation_whose_caller_gave_up_does_not_disturb_the_next() {
    let (config, mut lines) = logged(FunctionConfig { timeout: Duration::from_secs(2), ..probe() });
    let function = Function::start(config);
    tokio::select! {
        _ = function.invoke(r#"{"do":"hang"}"#) => panic!("it hangs"),
        _ = line_with(&mut lines, "hanging as") => {}
    }
    assert_eq!(invoke(&function, &json!("next")).await.unwrap(), json!("next"));
}

#[tokio::test]
async fn stop_ends_the_process_and_all_that_it_started() {
    let function = Function::start(probe());
    let process = Process::new(pid(&function).await);
    let grandchild = Process::new(process_id(&invoke(&function, &json!({"do": "spawn"})).await.unwrap()));
    function.stop().await;
    process.ended().await;
    grandchild.ended().await;
    assert!(matches!(invoke(&function, &json!(1)).await, Err(InvokeError::Stopped)));
    function.stop().await;
    function.kill().await;
}

#[tokio::test]
async fn what_a_crashed_process_started_ends_with_it() {
    let function = Function::start(probe());
    let grandchild = Process::new(process_id(&invoke(&function, &json!({"do": "spawn"})).await.unwrap()));
    assert!(matches!(invoke(&function, &json!({"do": "crash"})).await, Err(InvokeError::Crashed { .. })));
    grandchild.ended().await;
}

#[tokio::test]
async fn stop_fails_running_and_waiting_invocations() {
    let (config, mut lines) = logged(probe());
    let function = Function::start(config);
    let hang = json!({"do": "hang"});
    let (running, waiting, ()) = tokio::join!(invoke(&function, &hang), invoke(&function, &hang), async {
        line_with(&mut lines, "hanging as").await;
        function.stop().await;
    });
    assert!(matches!(running, Err(InvokeError::Stopped)), "{running:?}");
    assert!(matches!(waiting, Err(InvokeError::Stopped)), "{waiting:?}");
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed() {
    let script = r#"trap "" TERM; echo "deaf $$"; while :; do sleep 1; done"#;
    let args = vec!["-c".to_owned(), script.to_owned()];
    let (config, mut lines) = logged(FunctionConfig { args, ..FunctionConfig::new("deaf", "sh") });
    let function = Function::start(config);
    let (result, process) = tokio::join!(function.invoke("1"), async {
        let line = line_with(&mut lines, "deaf ").await;
        let process = Process::new(line.trim_start_matches("deaf ").parse().unwrap());
        function.stop().await;
        process
    });
    assert!(matches!(result, Err(InvokeError::Stopped)), "{result:?}");
    process.ended().await;
}

#[tokio::test]
async fn a_dropped_function_leaves_no_process() {
    let function = Function::start(probe());
    let process = Process::new(pid(&function).await);
    let grandchild = Process::new(process_id(&invoke(&function, &json!({"do": "spawn"})).await.unwrap()));
    drop(function);
    process.ended().await;
    grandchild.ended().await;
}

#[tokio::test]
async fn a_process_ends_when_its_host_is_killed() {
    let mut host = Command::new(example("host"))
        .arg(example("probe"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let line = BufReader::new(host.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
    let process = Process::new(line.parse().unwrap());
    host.kill().await.unwrap();
    process.ended().await;
}

#[tokio::test]
async fn a_function_that_does_not_start_says_why() {
    let init_error = async |config: FunctionConfig| match Function::start(config).invoke("{}").await {
        Err(InvokeError::Init { error_type, message }) => (error_type, message),
        other => panic!("{other:?}"),
    };
    let with =
        |value: &str| FunctionConfig { env: vec![("PROBE_INIT".to_owned(), value.to_owned())], ..probe() };

    let (error_type, message) = init_error(FunctionConfig::new("none", "/nonexistent/bootstrap")).await;
    assert_eq!(error_type, "Runtime.InvalidEntrypoint");
    assert!(message.starts_with("/nonexistent/bootstrap: "), "{message}");

    let (error_type, message) = init_error(with("exit")).await;
    assert_eq!(error_type, "Runtime.ExitError");
    assert!(message.contains("exit status: 3"), "{message}");

    let (config, mut lines) = logged(with("panic"));
    assert_eq!(init_error(config).await.0, "Runtime.ExitError");
    line_with(&mut lines, "no configuration").await;

    let (error_type, _) =
        init_error(FunctionConfig { init_timeout: Duration::from_millis(200), ..with("hang") }).await;
    assert_eq!(error_type, "Sandbox.Timedout");
}
