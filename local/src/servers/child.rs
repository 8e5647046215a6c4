//! Child processes: the stand-ins written in Python.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
#[cfg(target_os = "linux")]
use rustix::process::{getppid, set_parent_process_death_signal};
use tokio::{
    process::{ChildStdin, Command},
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::Instant,
};

/// How long a child may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How long its supervisor may take. It is longer than [`GRACE`].
const SUPERVISOR_GRACE: Duration = Duration::from_secs(12);
const POLL: Duration = Duration::from_millis(50);
/// How many bytes of a failed child's log are shown.
const LOG_TAIL: usize = 2000;

const S3_VARIABLES: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"];

/// A running program with its own log.
pub(crate) struct Child {
    name: &'static str,
    process: tokio::process::Child,
    log: PathBuf,
    /// Closed when this process ends, even by SIGKILL. Then the supervisor ends.
    _alive: Option<ChildStdin>,
}

/// How to start a [`Child`].
pub(crate) struct Program<'a> {
    pub name: &'static str,
    pub executable: &'a Path,
    pub args: Vec<String>,
    /// Its only variables besides `PATH` and `LANG`.
    pub env: Vec<(&'a str, String)>,
    pub dir: &'a Path,
    pub log: PathBuf,
}

impl Child {
    /// Starts the program, in its own process group so that the terminal's Ctrl-C does not reach it.
    pub(crate) fn start(program: Program<'_>) -> anyhow::Result<Self> {
        let Program { name, executable, args, env, dir, log } = program;
        let file = File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
        let inherited = ["PATH", "LANG"].map(|name| (name, std::env::var_os(name).unwrap_or_default()));
        let mut process = Command::new(std::env::current_exe()?)
            .args(["supervise", "--"])
            .arg(executable)
            .args(args)
            .env_clear()
            .envs(inherited)
            .envs(env)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} did not start"))?;
        let alive = process.stdin.take();
        Ok(Self { name, process, log, _alive: alive })
    }

    /// Waits until `url` answers 2xx.
    pub(crate) async fn ready(&mut self, url: &str, limit: Duration) -> anyhow::Result<()> {
        // No proxy, because the server is on this machine.
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.process.try_wait()? {
                let how =
                    status.signal().map_or_else(|| status.to_string(), |signal| format!("signal {signal}"));
                bail!("{} ended while it started ({how}); {}", self.name, self.log_tail());
            }
            if client.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("{} does not answer at {url} after {limit:?}; {}", self.name, self.log_tail());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Resolves if the process ends by itself.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        match self.process.wait().await {
            Ok(status) => anyhow::anyhow!("{} ended by itself ({status}); {}", self.name, self.log_tail()),
            Err(error) => error.into(),
        }
    }

    /// Asks the process to end, waits for it, and kills it after 10 s.
    pub(crate) async fn stop(mut self) {
        if let Some(pid) = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(SUPERVISOR_GRACE, self.process.wait()).await.is_err() {
            tracing::warn!("{} did not end within {SUPERVISOR_GRACE:?} and is killed", self.name);
            let _ = self.process.kill().await;
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_TAIL)..]).trim().to_owned();
        format!("its log {} ends with:\n{tail}", self.log.display())
    }
}

/// The variables for the export of traces: `OTEL_EXPORTER_OTLP_ENDPOINT` and OpenTelemetry's other variables.
/// <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>
pub(crate) fn telemetry() -> Vec<(String, String)> {
    variables(|name| name.starts_with("OTEL_"))
}

/// The variables that the functions behind the Lambda endpoint get from this process: [`telemetry`], and the address
/// and the account of S3.
pub(crate) fn passed_on() -> Vec<(String, String)> {
    variables(|name| name.starts_with("OTEL_") || S3_VARIABLES.contains(&name))
}

fn variables(is_wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).filter(|(name, _)| is_wanted(name)).collect()
}

/// Runs `command` as a child until it ends, this process gets a signal, or its stdin is closed. Then it ends all of the
/// child's processes. Otherwise the AWS stand-in's functions would run for the rest of their minute.
pub(crate) async fn supervise(command: &[String]) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["exec", "--"])
        .args(command)
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("the child has no id")?;
    let told = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = stdin_closed() => {}
        }
    };
    let status = tokio::select! {
        status = child.wait() => Some(status?),
        () = told => {
            let _ = kill_process(pid, Signal::TERM);
            tokio::time::timeout(GRACE, child.wait()).await.ok().transpose()?
        }
    };
    let _ = kill_process_group(pid, Signal::KILL);
    match status {
        Some(status) if !status.success() => bail!("the program ended with {status}"),
        _ => Ok(()),
    }
}

/// Completes when the other end of stdin is closed. A separate thread waits for that. Unlike a task of the
/// runtime, it does not keep the process from ending.
fn stdin_closed() -> oneshot::Receiver<()> {
    let (sender, closed) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = sender.send(());
    });
    closed
}

/// Asks the kernel to end this process when its parent ends, even by SIGKILL.
#[cfg(target_os = "linux")]
fn end_with_parent() -> anyhow::Result<()> {
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // The parent may have ended before the signal was requested.
    if getppid() != parent {
        bail!("the parent has ended");
    }
    Ok(())
}

/// Replaces this process by `command`. On Linux it gets a signal when this process's parent ends. Elsewhere the
/// supervisor ends it, or the closed connection to the Runtime API. It returns only if there is an error.
pub(crate) fn become_program(command: &[String]) -> anyhow::Error {
    #[cfg(target_os = "linux")]
    if let Err(error) = end_with_parent() {
        return error;
    }
    let [program, args @ ..] = command else { return anyhow::anyhow!("the name of a program is missing") };
    let error = std::process::Command::new(program).args(args).exec();
    anyhow::Error::new(error).context(format!("{program} cannot be run"))
}
