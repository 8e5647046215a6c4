//! Typed configuration from environment variables. All problems are reported together.

use std::{collections::HashMap, ffi::OsString, fmt, net::IpAddr, str::FromStr};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::variables::{COMMON, Unset, Variable};

/// The environment as it was at start, and the problems found while reading it. Its values are never printed.
///
/// ```
/// # use function_kit::{Environment, Variable};
/// const VARIABLES: &[Variable] = &[
///     Variable::required("BUCKET", "where quotes go"),
///     Variable::or("INTERVAL_SECONDS", "6", "from one poll to the next"),
/// ];
/// let mut environment = Environment::new(&[VARIABLES], [("BUCKET", "bronze")]);
/// let bucket: Option<String> = environment.get("BUCKET");
/// let seconds: Option<u32> = environment.get("INTERVAL_SECONDS");
/// assert_eq!((bucket.as_deref(), seconds), (Some("bronze"), Some(6)));
/// assert!(environment.problems().is_none());
/// ```
pub struct Environment {
    table: &'static [&'static [Variable]],
    variables: HashMap<String, String>,
    /// The variables whose values can come from secrets, with the variables that name those secrets.
    references: HashMap<String, &'static str>,
    problems: Vec<String>,
}

/// Everything that is wrong with the environment. Each problem names its variable.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration is wrong: {}", self.0.join("; "))
    }
}

impl std::error::Error for ConfigError {}

/// A value that is never printed: an API key, a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself. Only the code that sends it may call this.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `text` with `***` in place of the value, whether plain, percent-encoded or escaped as in JSON. For messages of
    /// servers and libraries that know the value.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let escaped = format!("{:?}", self.0);
        let forms = [
            self.0.clone(),
            utf8_percent_encode(&self.0, NON_ALPHANUMERIC).to_string(),
            form_urlencoded::byte_serialize(self.0.as_bytes()).collect(),
            escaped.trim_matches('"').to_owned(),
        ];
        let forms = forms.iter().filter(|form| !form.is_empty());
        forms.fold(text.to_owned(), |text, form| text.replace(form.as_str(), "***"))
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    /// The value without white space around it: a variable that was read from a file ends with a newline.
    fn from_str(value: &str) -> Result<Self, Self::Err> {
        Ok(Self(value.trim().to_owned()))
    }
}

/// `text` without the users and passwords in its URLs.
///
/// ```
/// # use function_kit::without_passwords;
/// assert_eq!(without_passwords("asked http://me:secret@proxy:8080/x"), "asked http://***@proxy:8080/x");
/// ```
#[must_use]
pub fn without_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c)).unwrap_or(part.len());
        let host = part[..end].rfind('@').map_or(0, |at| at + 1);
        shown.push_str(if host > 0 { "://***@" } else { "://" });
        shown.push_str(&part[host..]);
    }
    shown
}

/// Whether the URL's host is this machine. Requests to it must not use a proxy, which would send them to itself; a
/// client that reads its proxies from the environment must be configured so.
///
/// ```
/// # use function_kit::is_loopback;
/// assert!(is_loopback("http://127.0.0.1:4566/x") && is_loopback("http://localhost") && is_loopback("http://[::1]:80"));
/// assert!(!is_loopback("https://finnhub.io/api/v1") && !is_loopback("http://127.0.0.1.example.com"));
/// ```
#[must_use]
pub fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.variables.keys().collect();
        f.debug_struct("Environment")
            .field("variables", &names)
            .field("references", &self.references)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// An environment with these values. Only the variables of `table` and those of every function can be read. An
    /// empty value counts as unset.
    pub fn new<N: Into<String>, V: Into<String>>(
        table: &'static [&'static [Variable]],
        values: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let values = values.into_iter().map(|(name, value)| (name.into(), value.into()));
        let variables = values.filter(|(_, value): &(String, String)| !value.is_empty()).collect();
        Self { table, variables, references: HashMap::new(), problems: Vec::new() }
    }

    /// The process's own environment. A variable that is not UTF-8 counts as unset.
    #[must_use]
    pub fn of_process(table: &'static [&'static [Variable]]) -> Self {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self::new(table, std::env::vars_os().filter_map(text))
    }

    /// The variable's value, or its default; `None` if it has neither. If a required variable is not set or the value
    /// is not a `T`, the problem is noted and the result is `None`.
    pub fn get<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        let value = self.text(name)?.parse();
        self.noted(name, value)
    }

    /// As [`Environment::get`], for values separated by commas. An invalid value is noted as a problem and left out.
    pub fn list<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<Vec<T>> {
        let items = self.text(name)?.split(',').map(str::trim).filter(|item| !item.is_empty());
        let values: Vec<_> = items.map(str::parse).collect();
        Some(values.into_iter().filter_map(|value| self.noted(name, value)).collect())
    }

    /// As [`Environment::get`], for a variable that is required because of another variable's value.
    pub fn required<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        if !self.is_set(name) {
            self.problem(format!("{name} is not set"));
        }
        self.get(name)
    }

    /// Whether the variable is set. A default does not count.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.variable(name).is_some() && self.variables.contains_key(name)
    }

    /// The value as text.
    fn text(&mut self, name: &str) -> Option<&str> {
        let Some(Variable { unset, reference, .. }) = self.variable(name) else {
            self.problem(format!("{name} is read, but it is not in this function's table of variables"));
            return None;
        };
        match (self.variables.contains_key(name), unset) {
            (true, _) => self.variables.get(name).map(String::as_str),
            (false, Unset::Default(default)) => Some(*default),
            (false, Unset::NoValue) => None,
            (false, Unset::Problem) => {
                let or = reference.map(|reference| format!(", nor is {reference}")).unwrap_or_default();
                self.problem(format!("{name} is not set{or}"));
                None
            }
        }
    }

    fn noted<T>(&mut self, name: &str, value: Result<T, impl fmt::Display>) -> Option<T> {
        value.map_err(|error| self.problem(format!("{}: {error}", self.origin(name)))).ok()
    }

    fn variable(&self, name: &str) -> Option<&'static Variable> {
        self.table().find(|variable| variable.is_called(name))
    }

    /// Every variable that can be read.
    pub(crate) fn table(&self) -> impl Iterator<Item = &'static Variable> + use<> {
        self.table.iter().copied().chain([COMMON]).flatten()
    }

    /// The ARN or name of a secret: the value of a variable that names one.
    pub(crate) fn secret_of(&self, reference: &str) -> Option<String> {
        self.variables.get(reference).cloned()
    }

    /// The variable that `name`'s value is read from: itself, or the one that names its secret.
    #[must_use]
    pub fn origin<'a>(&self, name: &'a str) -> &'a str {
        self.references.get(name).copied().unwrap_or(name)
    }

    /// Sets the variable to the value of the secret that the variable `reference` names.
    pub(crate) fn put(&mut self, name: &str, reference: &'static str, value: String) {
        self.variables.insert(name.to_owned(), value);
        self.references.insert(name.to_owned(), reference);
    }

    /// Notes a problem that only the function can see, such as two values that contradict each other. Users and
    /// passwords in its URLs are removed.
    pub fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(without_passwords(&problem.into()));
    }

    /// All problems so far as one error, or `None`.
    #[must_use]
    pub fn problems(&self) -> Option<ConfigError> {
        (!self.problems.is_empty()).then(|| ConfigError(self.problems.clone()))
    }

    /// The configuration, if there was no problem. Read all variables before this call: `config` may return `None` at
    /// the first one without a value.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems.
    pub fn finish<T>(self, config: impl FnOnce() -> Option<T>) -> Result<T, ConfigError> {
        match config() {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => Err(ConfigError(self.problems)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIABLES: &[Variable] = &[
        Variable::required("BUCKET", "a name"),
        Variable::required("EMPTY", "a name"),
        Variable::required("KEY", "a key").secret().or_secret_of("KEY_SECRET"),
        Variable::optional("CA", "a certificate"),
        Variable::or("SECONDS", "6", "a duration"),
        Variable::or("PORTS", "80,443", "numbers"),
    ];

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::new(&[VARIABLES], variables.iter().copied())
    }

    #[test]
    fn every_problem_is_reported_at_once_with_its_variable() {
        let mut environment = environment(&[("SECONDS", "six"), ("PORTS", "1, x,2,y"), ("EMPTY", "")]);
        let missing = environment.get::<String>("BUCKET");
        let empty = environment.get::<String>("EMPTY");
        let key = environment.get::<Secret>("KEY");
        let seconds = environment.get::<u32>("SECONDS");
        let ports = environment.list::<u16>("PORTS");
        let conditional = environment.required::<String>("CA");
        assert!(
            missing.is_none()
                && empty.is_none()
                && key.is_none()
                && seconds.is_none()
                && conditional.is_none()
        );
        assert_eq!(ports, Some(vec![1, 2]));
        let error = environment.finish(|| Some(())).unwrap_err().to_string();
        for part in [
            "BUCKET is not set;",
            "EMPTY is not set;",
            "KEY is not set, nor is KEY_SECRET;",
            "SECONDS: ",
            "PORTS: ",
            "CA is not set",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(error.matches("PORTS").count(), 2, "{error}");
    }

    #[test]
    fn a_secret_is_never_printed() {
        let mut environment = environment(&[("KEY", "marked")]);
        assert!(!format!("{environment:?}").contains("marked"), "{environment:?}");
        let secret: Secret = environment.get("KEY").unwrap();
        assert_eq!((format!("{secret:?}").as_str(), secret.reveal()), ("***", "marked"));
    }

    #[test]
    fn a_secret_that_is_repeated_is_redacted_in_every_form() {
        let secret: Secret = " ma/rk+ed \"€ \n".parse().unwrap();
        assert_eq!(secret.reveal(), "ma/rk+ed \"€");
        for form in
            ["ma/rk+ed \"€", "ma%2Frk%2Bed%20%22%E2%82%AC", "ma%2Frk%2Bed+%22%E2%82%AC", r#"ma/rk+ed \"€"#]
        {
            assert_eq!(secret.redact(&format!("<{form}> is wrong")), "<***> is wrong", "{form}");
        }
        assert_eq!(Secret::from(String::new()).redact("nothing"), "nothing");
    }

    #[test]
    fn a_problem_never_contains_the_password_of_an_url() {
        let mut environment = environment(&[("URL", "6")]);
        environment.problem("A: http://user:marked@host:1/x and https://marked@b, no@host".to_owned());
        let error = environment.problems().unwrap().to_string();
        assert!(error.ends_with("A: http://***@host:1/x and https://***@b, no@host"), "{error}");
    }

    #[test]
    fn a_default_stands_where_a_variable_is_unset() {
        let mut environment = environment(&[]);
        assert_eq!(environment.get("SECONDS"), Some(6));
        assert_eq!(environment.list::<u16>("PORTS"), Some(vec![80, 443]));
        assert_eq!((environment.get::<String>("CA"), environment.is_set("SECONDS")), (None, false));
        assert_eq!(environment.finish(|| Some(1)), Ok(1));
    }

    #[test]
    fn a_variable_that_is_not_in_the_table_cannot_be_read() {
        let mut environment = environment(&[("BUCKETS", "set")]);
        assert_eq!(environment.get::<String>("BUCKETS"), None);
        let error = environment.finish(|| Some(())).unwrap_err().to_string();
        assert!(error.contains("BUCKETS is read, but it is not in this function's table"), "{error}");
    }
}
