//! A function's executable behind the Runtime API, and checks that every executable must pass.

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use function_kit::{About, Row, Unset};
use runtime_api::{Function, FunctionConfig, InvokeError};
use serde_json::{Value, json};

/// A function's executable behind the Runtime API, with its log.
pub struct Executable {
    function: Function,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Executable {
    /// The function at `program` (`CARGO_BIN_EXE_…`) with these variables; an invocation may take `timeout`.
    #[must_use]
    pub fn new(program: &str, env: &[(&str, &str)], timeout: Duration) -> Self {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let sink = Arc::clone(&lines);
        let name = program.rsplit('/').next().unwrap_or(program);
        let mut config = FunctionConfig::new(name, program);
        config.env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        config.timeout = timeout;
        config.log = Arc::new(move |line: &str| sink.lock().unwrap().push(line.to_owned()));
        Self { function: Function::start(config), lines }
    }

    /// The response to an event, as JSON.
    ///
    /// # Errors
    /// The error that the function reported, or how it ended.
    pub async fn invoke(&self, event: impl Into<Bytes>) -> Result<Value, InvokeError> {
        let response = self.function.invoke(event).await?;
        Ok(serde_json::from_slice(&response).unwrap())
    }

    /// Every line logged so far; each must be JSON.
    #[must_use]
    pub fn log(&self) -> Vec<Value> {
        self.lines.lock().unwrap().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Stops the process, waits for its end, and returns its log.
    pub async fn stop(self) -> Vec<Value> {
        let Self { function, lines } = self;
        function.stop().await;
        let lines = lines.lock().unwrap();
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Type and message of an error that the function itself reported.
#[must_use]
pub fn failure(error: InvokeError) -> (String, String) {
    match error {
        InvokeError::Function { error_type, message } => (error_type, message),
        other => panic!("{other:?}"),
    }
}

/// Checks that `--help` and the README in the function's `folder` (`CARGO_MANIFEST_DIR`) have every variable as the
/// function reads it. With `UPDATE=1` in the environment the README is written.
pub fn assert_documented(program: &str, folder: &str, about: &About) {
    const BEGIN: &str = "<!-- Written by `UPDATE=1 cargo test --workspace documented`: -->\n";
    const END: &str = "<!-- End -->\n";
    let output = std::process::Command::new(program).arg("--help").env_clear().output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && help == about.help(), "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");

    let mut table = "| variable | default | meaning |\n|---|---|---|\n".to_owned();
    for Row { name, unset, meaning } in about.rows() {
        assert!(help.contains(&format!("\n  {name} ")), "{name} in {help}");
        let default = match unset {
            Unset::Problem => "required".to_owned(),
            Unset::NoValue => "none".to_owned(),
            Unset::Default(value) => format!("`{value}`"),
        };
        writeln!(table, "| `{name}` | {default} | {meaning} |").unwrap();
    }
    let path = format!("{folder}/README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap_or_else(|| panic!("{path} has no line {BEGIN}"));
    let (written, after) = rest.split_once(END).unwrap_or_else(|| panic!("{path} has no line {END}"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(
            written, table,
            "{path} is not up to date: run `UPDATE=1 cargo test --workspace documented`"
        );
    }
}

/// Checks that the function does not start with these variables, and logs one line of JSON that contains all `names`.
pub async fn assert_configuration_problems(program: &str, env: &[(&str, &str)], names: &[&str]) {
    let function = Executable::new(program, env, Duration::from_secs(30));
    let error = function.invoke("{}").await.unwrap_err();
    assert!(matches!(error, InvokeError::Init { .. }), "{error:?}");
    let lines = function.log();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((&line["level"], &line["error_type"]), (&json!("ERROR"), &json!("Configuration")));
    for name in names {
        assert!(line["message"].as_str().unwrap().contains(name), "{name} in {line}");
    }
}
