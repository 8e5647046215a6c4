//! A function's configuration, and why an invocation has no response.

use std::{path::PathBuf, process::ExitStatus, sync::Arc, time::Duration};

/// Gets each line that a function writes to stdout or stderr, without the newline. It is called from the tasks that
/// read the lines, so it should not block for long.
pub type LogSink = Arc<dyn Fn(&str) + Send + Sync>;

/// The program to run, and its limits.
#[derive(Clone)]
pub struct FunctionConfig {
    /// The function's name.
    pub name: String,
    /// The executable: a `bootstrap`, or an interpreter.
    pub program: PathBuf,
    /// Its arguments, such as `-m awslambdaric module.handler`.
    pub args: Vec<String>,
    /// Its variables. It also gets Lambda's own (which these may override, except for `AWS_LAMBDA_RUNTIME_API`) and
    /// PATH, HOME, TMPDIR and LANG of this process. Nothing else is inherited.
    pub env: Vec<(String, String)>,
    /// Its working directory; this process's if absent.
    pub current_dir: Option<PathBuf>,
    /// How long one invocation may take, from the moment the process has the event.
    pub timeout: Duration,
    /// How long a new process may take to request its first event.
    pub init_timeout: Duration,
    /// The memory size that the function sees, in MiB. Nothing enforces it.
    pub memory_mb: u32,
    /// The sink for its log lines.
    pub log: LogSink,
}

impl FunctionConfig {
    /// A function with Lambda's default of 128 MiB, a minute for an invocation and for the start, and no log.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            current_dir: None,
            timeout: Duration::from_mins(1),
            init_timeout: Duration::from_mins(1),
            memory_mb: 128,
            log: Arc::new(|_| {}),
        }
    }

    pub(crate) fn region(&self) -> &str {
        let region = self.env.iter().rev().find(|(name, _)| name == "AWS_REGION");
        region.map_or("us-east-1", |(_, region)| region)
    }

    pub(crate) fn task_root(&self) -> String {
        let folder = self.current_dir.clone().or_else(|| std::env::current_dir().ok());
        folder.unwrap_or_default().display().to_string()
    }
}

/// Why an invocation has no response.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The function, or its runtime client, reported an error. The process continues.
    #[error("the function failed with {error_type}: {message}")]
    Function {
        /// The error's type, such as `ValueError`.
        error_type: String,
        /// The error's message.
        message: String,
    },
    /// The invocation took longer than this, and the process was killed.
    #[error("the function did not answer within {0:?}")]
    Timeout(Duration),
    /// The process ended in the middle of the invocation.
    #[error("the function's process ended: {}", describe(*status))]
    Crashed {
        /// How it ended, if that is known.
        status: Option<ExitStatus>,
    },
    /// The process could not be started, or did not request an event.
    #[error("the function did not start ({error_type}): {message}")]
    Init {
        /// The error's type, such as `Runtime.ExitError`.
        error_type: String,
        /// The error's message.
        message: String,
    },
    /// The function was stopped before the invocation ended.
    #[error("the function is stopped")]
    Stopped,
}

pub(crate) fn describe(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "unknown status".to_owned(), |status| status.to_string())
}
