//! A function's table of environment variables. Only these can be read. `--help` and the function's README show the
//! table.

use std::fmt::Write;

use crate::Environment;

/// How wide `--help` is, in columns.
const WIDTH: usize = 100;

/// An environment variable: the only place for its name, its default and its meaning.
#[derive(Debug)]
pub struct Variable {
    pub(crate) name: &'static str,
    pub(crate) unset: Unset,
    meaning: &'static str,
    is_secret: bool,
    /// The variable that may name a secret in AWS Secrets Manager with the value.
    pub(crate) reference: Option<&'static str>,
}

/// What happens if a variable is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unset {
    /// The function does not start.
    Problem,
    /// It has no value.
    NoValue,
    /// It has this value.
    Default(&'static str),
}

impl Variable {
    /// A variable without which the function does not start.
    #[must_use]
    pub const fn required(name: &'static str, meaning: &'static str) -> Self {
        Self { name, unset: Unset::Problem, meaning, is_secret: false, reference: None }
    }

    /// A variable that may have no value. A name that ends in `*` stands for every variable with that prefix.
    #[must_use]
    pub const fn optional(name: &'static str, meaning: &'static str) -> Self {
        Self { unset: Unset::NoValue, ..Self::required(name, meaning) }
    }

    /// A variable with a default.
    #[must_use]
    pub const fn or(name: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self { unset: Unset::Default(default), ..Self::required(name, meaning) }
    }

    /// The same variable, marked as a secret in the table.
    #[must_use]
    pub const fn secret(self) -> Self {
        Self { is_secret: true, ..self }
    }

    /// The same variable, whose value may also be read from a secret in AWS Secrets Manager: the variable `reference`
    /// contains the secret's ARN or name. [`Environment::with_secrets`] reads it.
    #[must_use]
    pub const fn or_secret_of(self, reference: &'static str) -> Self {
        Self { reference: Some(reference), ..self }
    }

    pub(crate) fn is_called(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == self.name,
        }
    }
}

/// The variables of every function.
pub(crate) const COMMON: &[Variable] = &[
    Variable::or("LOG_LEVEL", "info", "what is logged: `error`, `warn`, `info`, `debug` or `trace`"),
    Variable::optional(
        "AWS_LAMBDA_FUNCTION_NAME",
        "the name under which the function was deployed, and its name in metrics; Lambda sets it",
    ),
    Variable::optional(
        "OTEL_*",
        "OpenTelemetry's variables; `OTEL_EXPORTER_OTLP_ENDPOINT` is a collector of traces. Only in an executable with the \
         cargo feature `otel`: see docs/OBSERVABILITY.md",
    ),
];

/// A function's description.
#[derive(Debug)]
pub struct About {
    /// Its name, and the name of its folder in `functions`.
    pub name: &'static str,
    /// Its input and its output.
    pub purpose: &'static str,
    /// Its own variables, and those of the crates that it uses. The variables that every function has are added.
    pub variables: &'static [&'static [Variable]],
}

/// A line of the table.
#[derive(Debug)]
pub struct Row {
    /// The variable's name.
    pub name: &'static str,
    /// What happens if it is not set.
    pub unset: Unset,
    /// What it is for, with code in backticks.
    pub meaning: String,
}

impl About {
    /// The table. A variable whose value may be read from a secret has two lines.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        let rows = |&Variable { name, unset, meaning, is_secret, reference }: &Variable| {
            let mark = if is_secret { "(secret) " } else { "" };
            let reference = reference.map(|reference| Row {
                name: reference,
                unset: Unset::NoValue,
                meaning: format!(
                    "instead of `{name}`: ARN or name of a secret in AWS Secrets Manager with its value"
                ),
            });
            [Some(Row { name, unset, meaning: format!("{mark}{meaning}") }), reference]
        };
        self.variables.iter().copied().chain([COMMON]).flatten().flat_map(rows).flatten()
    }

    /// An environment with these variables alone.
    #[must_use]
    pub fn environment(&self, values: &[(&str, &str)]) -> Environment {
        Environment::new(self.variables, values.iter().copied())
    }

    /// What `--help` prints: lines of at most 100 columns.
    #[must_use]
    pub fn help(&self) -> String {
        let Self { name, purpose, .. } = self;
        let mut help = format!(
            "{name}: {purpose}\n\nA Lambda function: the Lambda Runtime API (AWS_LAMBDA_RUNTIME_API) runs it.\n\
             See functions/{name}/README.md.\n\nEnvironment variables:\n\n"
        );
        let rows: Vec<Row> = self.rows().collect();
        let names = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        let defaults = rows.iter().map(|row| row.unset.text().len()).max().unwrap_or_default();
        let mut line = |name: &str, default: &str, meaning: &str| {
            let text = format!("  {name:names$}  {default:defaults$}  {meaning}");
            // Writing to a String cannot fail.
            let _ = writeln!(help, "{}", text.trim_end());
        };
        line("name", "default", "meaning");
        for Row { name, unset, meaning } in rows {
            let (mut name, mut default, mut words) = (name, unset.text(), String::new());
            for word in meaning.replace('`', "").split(' ') {
                if !words.is_empty() && words.len() + word.len() >= WIDTH - names - defaults - 6 {
                    line(name, default, &words);
                    (name, default) = ("", "");
                    words.clear();
                }
                words.extend([if words.is_empty() { "" } else { " " }, word]);
            }
            line(name, default, &words);
        }
        help
    }
}

impl Unset {
    fn text(self) -> &'static str {
        match self {
            Self::Problem => "required",
            Self::NoValue => "none",
            Self::Default(value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About = About {
        name: "test-quotes",
        purpose: "a test -> quotes",
        variables: &[&[
            Variable::required("KEY", "the key").secret().or_secret_of("KEY_SECRET"),
            Variable::or("INTERVAL_SECONDS", "6", "from one poll to the next, as in `0.5`"),
        ]],
    };

    #[test]
    fn help_is_a_table_of_every_variable_within_100_columns() {
        let help = ABOUT.help();
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        let line = |name: &str| help.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        for (name, default, meaning) in [
            ("KEY ", "required", "(secret) the key"),
            ("KEY_SECRET ", "none", "instead of KEY: ARN or name of a secret in AWS Secrets Manager"),
            ("INTERVAL_SECONDS ", "6", "from one poll to the next, as in 0.5"),
        ] {
            let line = line(name);
            assert!(
                line.contains(&format!(" {default} ")) && line.ends_with(&format!("  {meaning}")),
                "{line}"
            );
        }
        assert!(line("LOG_LEVEL").contains("info") && line("OTEL_*").contains("none"), "{help}");
    }

    #[test]
    fn a_name_with_an_asterisk_stands_for_every_variable_that_begins_so() {
        let environment = ABOUT.environment(&[("OTEL_SDK_DISABLED", "true"), ("OTHER", "x")]);
        assert!(environment.is_set("OTEL_SDK_DISABLED") && !environment.is_set("OTEL_SERVICE_NAME"));
        assert!(!environment.is_set("OTHER"), "it is not in the table");
    }
}
