//! A function: its queue of invocations, and its process.

use std::fmt;

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    config::{FunctionConfig, InvokeError},
    environment::{Ended, Environment},
};

enum Request {
    Warm,
    Invoke { payload: Bytes, reply: oneshot::Sender<Result<Bytes, InvokeError>> },
}

enum Control {
    Kill(oneshot::Sender<()>),
    Stop,
}

/// A function that can be invoked. Its process starts with the first invocation, or earlier by [`Function::warm`].
///
/// Dropping it kills the process; [`Function::stop`] also waits for its end.
pub struct Function {
    name: String,
    requests: mpsc::UnboundedSender<Request>,
    control: mpsc::UnboundedSender<Control>,
    task: JoinHandle<()>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Function {
    /// Prepares the function for invocations. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(config: FunctionConfig) -> Self {
        let (requests, requests_receiver) = mpsc::unbounded_channel();
        let (control, control_receiver) = mpsc::unbounded_channel();
        let name = config.name.clone();
        let worker =
            Worker { config, requests: requests_receiver, control: control_receiver, environment: None };
        Self { name, requests, control, task: tokio::spawn(worker.run()) }
    }

    /// The function's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Invokes the function with an event's JSON and returns the response's JSON. Invocations run one after the other,
    /// in order. An invocation whose caller gives up still runs to its end, as on Lambda.
    ///
    /// # Errors
    /// If the function reports an error, takes too long, ends or does not start. The next invocation starts a new
    /// process if that is needed.
    pub async fn invoke(&self, payload: impl Into<Bytes>) -> Result<Bytes, InvokeError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Invoke { payload: payload.into(), reply };
        self.requests.send(request).map_err(|_| InvokeError::Stopped)?;
        answer.await.unwrap_or(Err(InvokeError::Stopped))
    }

    /// Starts the process if none is running, so that the next invocation need not wait for its start. If it cannot be
    /// started, that invocation fails with the reason.
    pub fn warm(&self) {
        let _ = self.requests.send(Request::Warm);
    }

    /// Kills the process with SIGKILL, as a failing host would, and returns when it is gone. A running invocation fails
    /// with [`InvokeError::Crashed`]; the next one starts a new process.
    pub async fn kill(&self) {
        let (sender, gone) = oneshot::channel();
        if self.control.send(Control::Kill(sender)).is_ok() {
            let _ = gone.await;
        }
    }

    /// Ends the process with SIGTERM, or with SIGKILL if it still runs two seconds later, and returns when it is gone.
    /// Running, waiting and later invocations fail with [`InvokeError::Stopped`].
    pub async fn stop(&self) {
        let _ = self.control.send(Control::Stop);
        // The last thing the worker does is to drop its end of the channel.
        self.control.closed().await;
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The only owner of the process and its state.
struct Worker {
    config: FunctionConfig,
    requests: mpsc::UnboundedReceiver<Request>,
    control: mpsc::UnboundedReceiver<Control>,
    environment: Option<Environment>,
}

impl Worker {
    async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                control = self.control.recv() => match control {
                    Some(Control::Kill(done)) => {
                        self.discard().await;
                        let _ = done.send(());
                    }
                    Some(Control::Stop) | None => break,
                },
                () = ended(&mut self.environment) => self.discard().await,
                Some(request) = self.requests.recv() => match request {
                    Request::Warm => self.warm().await,
                    // Sending fails if the caller gave up, which does not matter.
                    Request::Invoke { payload, reply } => {
                        let _ = reply.send(self.invoke(payload).await);
                    }
                },
            }
            if self.requests.is_closed() {
                break;
            }
        }
        if let Some(environment) = self.environment.take() {
            environment.stop().await;
        }
    }

    async fn warm(&mut self) {
        if self.environment.is_none() {
            self.environment = Environment::start(&self.config).await.ok();
        }
    }

    async fn invoke(&mut self, payload: Bytes) -> Result<Bytes, InvokeError> {
        loop {
            let mut environment = if let Some(environment) = self.environment.take() {
                environment
            } else {
                Environment::start(&self.config).await.map_err(|error| InvokeError::Init {
                    error_type: "Runtime.InvalidEntrypoint".to_owned(),
                    message: format!("{}: {error}", self.config.program.display()),
                })?
            };
            let ended = tokio::select! {
                biased;
                control = self.control.recv() => {
                    return match control {
                        Some(Control::Kill(done)) => {
                            let status = environment.kill().await;
                            let _ = done.send(());
                            Err(InvokeError::Crashed { status })
                        }
                        Some(Control::Stop) | None => {
                            self.environment = Some(environment);
                            self.requests.close();
                            Err(InvokeError::Stopped)
                        }
                    };
                }
                ended = environment.invoke(&self.config, payload.clone()) => ended,
            };
            match ended {
                Ended::Warm(result) => {
                    self.environment = Some(environment);
                    return result;
                }
                Ended::Broken(error) => {
                    environment.kill().await;
                    return Err(error);
                }
                Ended::NeverBegan => {
                    environment.kill().await;
                }
            }
        }
    }

    async fn discard(&mut self) {
        if let Some(environment) = self.environment.take() {
            environment.kill().await;
        }
    }
}

async fn ended(environment: &mut Option<Environment>) {
    match environment {
        Some(environment) => environment.ended().await,
        None => std::future::pending().await,
    }
}
