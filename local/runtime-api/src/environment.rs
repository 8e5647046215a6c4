//! One process and its Runtime API.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use uuid::Uuid;

use crate::{
    api::{Event, Invocation, Reported, Server},
    config::{FunctionConfig, InvokeError, LogSink, describe},
};

const STOP_GRACE: Duration = Duration::from_secs(2);
const LOG_GRACE: Duration = Duration::from_secs(1);

/// The variables of this process that a function inherits. Others, above all credentials, are not passed on.
const INHERITED: [&str; 4] = ["PATH", "HOME", "TMPDIR", "LANG"];

pub(crate) struct Environment {
    child: Child,
    /// The group that the process leads.
    group: Option<Pid>,
    events: mpsc::Receiver<Event>,
    /// The process's open request for an event.
    waiting: Option<oneshot::Sender<Invocation>>,
    /// Whether the process has had an event.
    warm: bool,
    logs: JoinSet<()>,
    /// Ends with the process.
    _server: Server,
}

/// How one invocation ended, and whether the process can take the next one.
pub(crate) enum Ended {
    /// The process continues.
    Warm(Result<Bytes, InvokeError>),
    /// The process must be replaced.
    Broken(InvokeError),
    /// The process had ended since its last invocation, before this event was handed to it.
    NeverBegan,
}

impl Environment {
    pub async fn start(config: &FunctionConfig) -> io::Result<Self> {
        let (server, events) = Server::start().await?;
        let mut command = Command::new(&config.program);
        command
            .args(&config.args)
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(standard_variables(config))
            .envs(config.env.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", &server.address)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(folder) = &config.current_dir {
            command.current_dir(folder);
        }
        let mut child = command.spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut logs = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            logs.spawn(forward(stdout, config.log.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            logs.spawn(forward(stderr, config.log.clone()));
        }
        Ok(Self { child, group, events, waiting: None, warm: false, logs, _server: server })
    }

    /// Resolves when the process has ended by itself.
    pub async fn ended(&mut self) {
        let _ = self.child.wait().await;
    }

    /// Gives one event to the process and waits for the outcome.
    pub async fn invoke(&mut self, config: &FunctionConfig, payload: Bytes) -> Ended {
        match timeout(config.init_timeout, self.ready()).await {
            Ok(Ok(())) => {}
            Ok(Err(NotReady::Exited(_))) if self.warm => return Ended::NeverBegan,
            Ok(Err(NotReady::Exited(status))) => {
                let message = format!("the process ended before it requested an event: {}", describe(status));
                return Ended::Broken(init("Runtime.ExitError", message));
            }
            Ok(Err(NotReady::Reported(Reported { error_type, message }))) => {
                return Ended::Broken(InvokeError::Init { error_type, message });
            }
            Err(_) => {
                let message =
                    format!("the process did not request an event within {:?}", config.init_timeout);
                return Ended::Broken(init("Sandbox.Timedout", message));
            }
        }
        let id = Uuid::now_v7();
        let invocation = Invocation {
            id: id.to_string(),
            payload,
            deadline: SystemTime::now() + config.timeout,
            arn: format!("arn:aws:lambda:{}:000000000000:function:{}", config.region(), config.name),
            trace_id: trace_id(),
        };
        if let Some(process) = self.waiting.take() {
            self.warm = true;
            // If the connection is closed, the process is ending, which the wait below notices.
            let _ = process.send(invocation);
        }
        match timeout(config.timeout, self.outcome(&id.to_string())).await {
            Ok(ended) => ended,
            Err(_) => Ended::Broken(InvokeError::Timeout(config.timeout)),
        }
    }

    /// Waits for the process to request an event.
    async fn ready(&mut self) -> Result<(), NotReady> {
        loop {
            // If an idle connection breaks, the process opens a new one or is ending.
            if self.waiting.as_ref().is_some_and(|process| !process.is_closed()) {
                // An event for a dead process would fail without need.
                return match self.child.try_wait() {
                    Ok(None) => Ok(()),
                    ended => Err(NotReady::Exited(ended.ok().flatten())),
                };
            }
            tokio::select! {
                // Requests that the process made before it ended are handled before its end.
                biased;
                Some(event) = self.events.recv() => match event {
                    Event::Next(process) => self.waiting = Some(process),
                    Event::InitError(reported) => return Err(NotReady::Reported(reported)),
                    Event::Outcome { accepted, .. } => {
                        let _ = accepted.send(false);
                    }
                },
                status = self.child.wait() => return Err(NotReady::Exited(status.ok())),
            }
        }
    }

    /// Waits for the outcome of the invocation `running`.
    async fn outcome(&mut self, running: &str) -> Ended {
        loop {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => match event {
                    Event::Outcome { id, outcome, accepted } => {
                        let known = id == running;
                        let _ = accepted.send(known);
                        if known {
                            return Ended::Warm(outcome.map_err(|Reported { error_type, message }| {
                                InvokeError::Function { error_type, message }
                            }));
                        }
                    }
                    Event::Next(process) => {
                        self.waiting = Some(process);
                        return Ended::Warm(Err(InvokeError::Function {
                            error_type: "Runtime.NoResponse".to_owned(),
                            message: "the process requested the next event without a response to this one".to_owned(),
                        }));
                    }
                    Event::InitError(Reported { error_type, message }) => {
                        return Ended::Broken(InvokeError::Init { error_type, message });
                    }
                },
                status = self.child.wait() => return Ended::Broken(InvokeError::Crashed { status: status.ok() }),
            }
        }
    }

    /// Kills the process and its children with SIGKILL, and waits for its end and for its last log lines.
    pub async fn kill(mut self) -> Option<ExitStatus> {
        // If the process has just ended on its own, its children may still be in the group.
        self.end_group(Signal::KILL);
        let status = self.child.wait().await.ok();
        // A descendant that left the group may keep the pipe open.
        let _ = timeout(LOG_GRACE, async { while self.logs.join_next().await.is_some() {} }).await;
        status
    }

    /// Asks the process to end, and kills it if it does not.
    pub async fn stop(mut self) {
        self.end_group(Signal::TERM);
        let _ = timeout(STOP_GRACE, self.child.wait()).await;
        let _ = self.kill().await;
    }

    fn end_group(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It fails if the group is empty, which is fine.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        // After `kill` the process is reaped, and another process may have the group's id.
        if self.child.id().is_some() {
            self.end_group(Signal::KILL);
        }
    }
}

enum NotReady {
    Exited(Option<ExitStatus>),
    Reported(Reported),
}

fn init(error_type: &str, message: String) -> InvokeError {
    InvokeError::Init { error_type: error_type.to_owned(), message }
}

fn trace_id() -> String {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let random = Uuid::now_v7().simple().to_string();
    format!("Root=1-{seconds:08x}-{};Parent={};Sampled=0", &random[8..], &random[16..])
}

fn standard_variables(config: &FunctionConfig) -> [(&'static str, String); 12] {
    [
        ("AWS_LAMBDA_FUNCTION_NAME", config.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", config.memory_mb.to_string()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", config.name)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "local".to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_REGION", config.region().to_owned()),
        ("AWS_DEFAULT_REGION", config.region().to_owned()),
        ("AWS_ACCESS_KEY_ID", "local".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ("LAMBDA_TASK_ROOT", config.task_root()),
        ("TZ", ":UTC".to_owned()),
    ]
}

/// Passes on each line when it arrives. Bytes that are not UTF-8 are replaced.
async fn forward(stream: impl AsyncRead + Unpin, log: LogSink) {
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(lines.read_until(b'\n', &mut line).await, Ok(1..)) {
        log(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_has_the_documented_form() {
        let id = trace_id();
        let lengths: Vec<_> = id.split(['-', '=', ';']).map(str::len).collect();
        assert_eq!(lengths, [4, 1, 8, 24, 6, 16, 7, 1], "{id}");
    }
}
