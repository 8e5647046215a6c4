//! `run`: a handler as a Lambda executable.

use std::{
    error::Error,
    fmt::Debug,
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use metrics_cloudwatch_embedded::Collector;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::level_filters::LevelFilter;

use crate::{
    About, ConfigError, Environment, Retry, certificates, chain, diagnostic, log, metrics, trace::Export,
};

/// Runs a function behind the Lambda Runtime API: reads its configuration, creates its handler once, and
/// passes every event to it.
///
/// Its name is the dimension `function` of its metrics and the service name of its spans. After each event, metrics are
/// written, and spans are exported if OpenTelemetry's variables name a collector. `start` creates the handler from the
/// environment. If the environment is wrong, the process ends with one log line that names every wrong variable.
/// `LOG_LEVEL` applies to Quoteflow's own lines. Libraries log warnings and errors only, because below that they may
/// print secrets. An event that fails has one ERROR line. `--help` prints the variables.
pub fn run<Start, Handler, Event, Outcome, Failure>(about: &About, start: Start) -> ExitCode
where
    Start: AsyncFnOnce(Environment) -> Result<Handler, Box<dyn Error + Send + Sync>>,
    Handler: AsyncFn(LambdaEvent<Event>) -> Result<Outcome, Failure>,
    Event: for<'de> Deserialize<'de>,
    Outcome: Serialize,
    Failure: Retry + Debug,
{
    if std::env::args().skip(1).any(|argument| argument == "--help" || argument == "-h") {
        print!("{}", about.help());
        return ExitCode::SUCCESS;
    }
    certificates::name_one_file();
    let name = about.name;
    let mut environment = Environment::of_process(about.variables);
    // A wrong level is logged as a problem, too.
    log::start(name, environment.get("LOG_LEVEL").unwrap_or(LevelFilter::INFO));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let outcome = runtime.block_on(async {
        let export = Export::start(&mut environment, name);
        let deployed = environment.get("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| name.to_owned());
        let handler = start(environment).await?;
        serve(handler, metrics::collector(deployed)?, export).await
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

/// The part of a function's time that is kept for reporting that it ran out.
const MARGIN: Duration = Duration::from_millis(500);
/// Lambda's maximum. An invocation without a deadline gets it.
const LONGEST: Duration = Duration::from_mins(15);

/// How long the handler of an event may still take. Half a second before Lambda would end the process, [`run`] ends the
/// handler and reports the event as `Retryable`.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place for it")]
pub fn time_left(context: &Context) -> Duration {
    let left = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
    left.min(LONGEST).saturating_sub(MARGIN)
}

async fn serve<Handler, Event, Outcome, Failure>(
    handler: Handler,
    collector: &'static Collector,
    export: Option<Export>,
) -> Result<(), lambda_runtime::Error>
where
    Handler: AsyncFn(LambdaEvent<Event>) -> Result<Outcome, Failure>,
    Event: for<'de> Deserialize<'de>,
    Outcome: Serialize,
    Failure: Retry + Debug,
{
    let (handler, export) = (&handler, export.as_ref());
    let service = lambda_runtime::service_fn(move |event: LambdaEvent<Box<RawValue>>| async move {
        let LambdaEvent { payload, context } = event;
        let until = Instant::now() + time_left(&context) + MARGIN;
        let outcome = match serde_json::from_str(payload.get()) {
            Ok(payload) => {
                let left = time_left(&context);
                match tokio::time::timeout(left, handler(LambdaEvent { payload, context })).await {
                    Ok(outcome) => outcome.map_err(|error| diagnostic(&error)),
                    Err(_) => Err(out_of_time()),
                }
            }
            Err(error) => Err(unreadable(&error)),
        };
        metrics::write(collector);
        if let Some(export) = export {
            export.flush(until).await;
        }
        outcome.inspect_err(|diagnostic| {
            tracing::error!(error_type = diagnostic.error_type, "{}", diagnostic.error_message);
        })
    });
    lambda_runtime::run(service).await
}

fn out_of_time() -> Diagnostic {
    let error_message = "the function's time was over before it finished the event".to_owned();
    Diagnostic { error_type: "Retryable".to_owned(), error_message }
}

fn unreadable(error: &serde_json::Error) -> Diagnostic {
    let error_message = format!("this function cannot read the event: {error}");
    Diagnostic { error_type: "NonRetryable".to_owned(), error_message }
}

fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    let kind = if error.is::<ConfigError>() { "Configuration" } else { "Start" };
    tracing::error!(error_type = kind, "{}", chain(error));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invocation_has_time_until_half_a_second_before_its_deadline_and_never_more_than_any_function() {
        let left = |deadline| {
            let mut context = Context::default();
            context.deadline = deadline;
            time_left(&context)
        };
        assert_eq!((left(0), left(u64::MAX / 2)), (Duration::ZERO, Duration::from_millis(899_500)));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let minute = left(u64::try_from(now.as_millis()).unwrap() + 60_000);
        assert!(minute <= Duration::from_millis(59_500) && minute > Duration::from_secs(50), "{minute:?}");
    }
}
