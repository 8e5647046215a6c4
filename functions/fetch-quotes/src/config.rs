//! The configuration from environment variables.

use std::{collections::HashSet, str::FromStr, time::Duration};

use function_kit::{ConfigError, Environment, Secret, Variable};
use quotes::Symbol;
use reqwest::header::HeaderValue;

use crate::{
    pace::Limits,
    security::{Authority, KafkaSecurity},
};

/// Finnhub's limit for every key.
const RATE_LIMIT_PER_SECOND: usize = 30;
const MINUTE: Duration = Duration::from_mins(1);

/// The variables of fetch-quotes itself.
pub(crate) const VARIABLES: &[Variable] = &[
    Variable::required("FINNHUB_API_KEY", "sent in the header `X-Finnhub-Token`, nowhere else; redirects are not followed")
        .secret()
        .or_secret_of("FINNHUB_API_KEY_SECRET"),
    Variable::or("FINNHUB_BASE_URL", "https://finnhub.io/api/v1", "another server instead of Finnhub"),
    Variable::or("SYMBOLS", "AAPL,MSFT,TSLA,GOOGL,AMZN", "the symbols to poll, separated by commas"),
    Variable::or("POLL_INTERVAL_SECONDS", "6", "from one poll to the next, 0.05 to 60"),
    Variable::or(
        "RATE_LIMIT_PER_MINUTE",
        "60",
        "Finnhub's limit for the key; at least one request for each poll, and one more",
    ),
    Variable::required("KAFKA_BOOTSTRAP_SERVERS", "`host:port`, separated by commas"),
    Variable::or("KAFKA_TOPIC", "stock-quotes", "where quotes go"),
    Variable::optional(
        "KAFKA_TOPIC_PARTITIONS",
        "number of partitions; if set, a missing topic is created at the start, with the brokers' default replication; if \
         not, the topic must exist",
    ),
    Variable::or(
        "KAFKA_SECURITY",
        "plaintext",
        "`plaintext`; `tls`; `msk_iam`: TLS, and a token signed with the function's own AWS credentials; `sasl_scram`: \
         TLS, and a user by SCRAM-SHA-512; `sasl_plain`: TLS, and a user by PLAIN",
    ),
    Variable::optional(
        "KAFKA_SASL",
        "the user, as `{\"username\": \"...\", \"password\": \"...\"}`, which MSK and the event source mapping need, too; \
         required for `sasl_scram` and `sasl_plain`",
    )
    .secret()
    .or_secret_of("KAFKA_SASL_SECRET"),
    Variable::optional(
        "KAFKA_CA",
        "the only authority that brokers are checked against, as `{\"certificate\": \"-----BEGIN CERTIFICATE-----...\"}`, \
         which the event source mapping needs, too; if not set, the system's authorities",
    )
    .or_secret_of("KAFKA_CA_SECRET"),
];

/// The configuration of fetch-quotes.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// Where quotes come from.
    pub finnhub: FinnhubConfig,
    /// Where they go.
    pub kafka: KafkaConfig,
    /// The symbols to poll, and when.
    pub polling: Polling,
}

/// How to reach Finnhub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinnhubConfig {
    /// `FINNHUB_BASE_URL`, without a slash at its end.
    pub base_url: String,
    /// `FINNHUB_API_KEY`.
    pub api_key: Secret,
}

/// How to reach Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `KAFKA_BOOTSTRAP_SERVERS`: `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// `KAFKA_TOPIC`.
    pub topic: String,
    /// `KAFKA_SECURITY`, with the user of `KAFKA_SASL` or the function's own AWS credentials.
    pub security: KafkaSecurity,
    /// `KAFKA_CA`: whose certificates brokers have; `None`: the system's authorities'.
    pub authority: Option<Authority>,
    /// `KAFKA_TOPIC_PARTITIONS`: how many partitions the topic is created with where it is not there; `None`: it is
    /// expected to be.
    pub topic_partitions: Option<Partitions>,
}

impl KafkaConfig {
    /// An existing topic, on brokers that accept plain text.
    #[must_use]
    pub fn plaintext(bootstrap_servers: String, topic: String) -> Self {
        Self {
            bootstrap_servers,
            topic,
            security: KafkaSecurity::Plaintext,
            authority: None,
            topic_partitions: None,
        }
    }

    fn read(environment: &mut Environment) -> Option<Self> {
        let bootstrap_servers = environment.get("KAFKA_BOOTSTRAP_SERVERS");
        let topic = environment.get("KAFKA_TOPIC");
        let security = KafkaSecurity::read(environment, cfg!(feature = "tls"));
        let authority = environment.get("KAFKA_CA");
        if authority.is_some() && security == Some(KafkaSecurity::Plaintext) {
            environment.problem("KAFKA_CA needs TLS, but KAFKA_SECURITY is plaintext".to_owned());
        }
        let topic_partitions = environment.get("KAFKA_TOPIC_PARTITIONS");
        Some(Self {
            bootstrap_servers: bootstrap_servers?,
            topic: topic?,
            security: security?,
            authority,
            topic_partitions,
        })
    }
}

/// A number of partitions, 1 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partitions(pub(crate) i32);

impl FromStr for Partitions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = text.parse().ok().filter(|count| (1..=10_000).contains(count));
        count.map(Self).ok_or_else(|| format!("{text:?} is not a number of partitions from 1 to 10000"))
    }
}

/// Which symbols are polled, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polling {
    /// `SYMBOLS`, each once.
    pub symbols: Vec<Symbol>,
    /// `POLL_INTERVAL_SECONDS`: the time from one poll to the next.
    pub interval: Duration,
    /// `RATE_LIMIT_PER_MINUTE`: how many requests Finnhub takes a minute.
    pub rate_limit_per_minute: u32,
}

impl Polling {
    fn read(environment: &mut Environment) -> Option<Self> {
        let symbols: Option<Vec<Symbol>> = environment.list("SYMBOLS");
        let interval = environment.get("POLL_INTERVAL_SECONDS");
        let rate_limit_per_minute = environment.get("RATE_LIMIT_PER_MINUTE");
        let (mut symbols, Seconds(interval)) = (symbols?, interval?);
        let mut named = HashSet::new();
        symbols.retain(|symbol| named.insert(symbol.clone()));
        let polling = Self { symbols, interval, rate_limit_per_minute: rate_limit_per_minute? };
        if polling.symbols.is_empty() && environment.problems().is_none() {
            environment.problem("SYMBOLS has no symbol".to_owned());
        } else if !polling.symbols.is_empty() && polling.symbols_a_poll() == 0 {
            environment.problem(format!(
                "RATE_LIMIT_PER_MINUTE {} is too low for {} polls a minute (POLL_INTERVAL_SECONDS)",
                polling.rate_limit_per_minute,
                polling.polls()
            ));
        }
        Some(polling)
    }

    /// How many polls one invocation runs: a minute's.
    #[must_use]
    pub fn polls(&self) -> u32 {
        u32::try_from(MINUTE.as_millis() / self.interval.as_millis()).unwrap_or(u32::MAX)
    }

    /// How many symbols of one poll the rate limit allows, so that a minute's polls and its market-status
    /// request stay below it.
    pub(crate) fn symbols_a_poll(&self) -> usize {
        (self.rate_limit_per_minute.saturating_sub(1) / self.polls()) as usize
    }

    /// The limits of all requests to Finnhub.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let per_minute = self.rate_limit_per_minute as usize;
        let planned = self.symbols_a_poll().min(self.symbols.len()) * self.polls() as usize;
        Limits {
            // Whoever allows more than 30 a second for a whole minute allows it in each second too.
            per_second: RATE_LIMIT_PER_SECOND.max(per_minute.div_ceil(60)),
            per_minute,
            retries_per_minute: per_minute.saturating_sub(1 + planned),
        }
    }

    /// The symbols of poll number `index`, counted from 1970: all of `symbols`, or the next few in turn where
    /// the rate limit does not allow all.
    pub fn turn<'a>(&self, symbols: &'a [Symbol], index: u64) -> impl Iterator<Item = &'a Symbol> {
        let count = symbols.len().min(self.symbols_a_poll());
        let length = symbols.len().max(1) as u64;
        let start = if count == symbols.len() { 0 } else { index % length * count as u64 % length };
        symbols.iter().cycle().skip(usize::try_from(start).unwrap_or_default()).take(count)
    }
}

struct Seconds(Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let interval = text
            .parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|interval| (Duration::from_millis(50)..=MINUTE).contains(interval));
        interval.map(Self).ok_or_else(|| format!("{text:?} is not a number of seconds from 0.05 to 60"))
    }
}

struct BaseUrl(String);

impl FromStr for BaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match reqwest::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.query().is_none() => {
                Ok(Self(text.trim_end_matches('/').to_owned()))
            }
            Ok(_) => Err(format!("{text:?} is not an http(s) URL without a query")),
            Err(error) => Err(format!("{text:?}: {error}")),
        }
    }
}

impl FinnhubConfig {
    fn read(environment: &mut Environment) -> Option<Self> {
        let base_url = environment.get("FINNHUB_BASE_URL");
        let api_key: Option<Secret> = environment.get("FINNHUB_API_KEY");
        if api_key.as_ref().is_some_and(|key| HeaderValue::from_str(key.reveal()).is_err()) {
            let origin = environment.origin("FINNHUB_API_KEY");
            environment
                .problem(format!("{origin}: the key has characters that are not allowed in an HTTP header"));
        }
        let BaseUrl(base_url) = base_url?;
        Some(Self { base_url, api_key: api_key? })
    }
}

impl Config {
    /// Reads the configuration from the environment.
    ///
    /// # Errors
    /// All that is wrong with it: a missing key or broker, a bad symbol, a rate limit too low for one
    /// request a poll.
    pub fn read(mut environment: Environment) -> Result<Self, ConfigError> {
        let finnhub = FinnhubConfig::read(&mut environment);
        let kafka = KafkaConfig::read(&mut environment);
        let polling = Polling::read(&mut environment);
        environment.finish(|| Some(Self { finnhub: finnhub?, kafka: kafka?, polling: polling? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ABOUT;

    const REQUIRED: [(&str, &str); 2] =
        [("FINNHUB_API_KEY", "marked-key"), ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")];

    fn read(more: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(ABOUT.environment(&[REQUIRED.as_slice(), more].concat()))
    }

    #[test]
    fn the_defaults_are_five_symbols_every_six_seconds() {
        let config = read(&[]).unwrap();
        let symbols: Vec<_> = config.polling.turn(&config.polling.symbols, 7).map(Symbol::as_str).collect();
        assert_eq!(symbols, ["AAPL", "MSFT", "TSLA", "GOOGL", "AMZN"]);
        assert_eq!((config.polling.polls(), config.kafka.topic.as_str()), (10, "stock-quotes"));
        assert!(!format!("{config:?}").contains("marked-key"));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let variables = [
            ("SYMBOLS", "AAPL,../x"),
            ("POLL_INTERVAL_SECONDS", "0"),
            ("FINNHUB_BASE_URL", "ftp://user:marked@host"),
            ("FINNHUB_API_KEY", "marked\u{1}key"),
            ("KAFKA_SECURITY", "ssl"),
            ("KAFKA_TOPIC_PARTITIONS", "0"),
        ];
        let error = Config::read(ABOUT.environment(&variables)).unwrap_err().to_string();
        for name in [
            "FINNHUB_API_KEY",
            "KAFKA_BOOTSTRAP_SERVERS",
            "SYMBOLS",
            "POLL_INTERVAL_SECONDS",
            "FINNHUB_BASE_URL",
            "KAFKA_SECURITY",
            "KAFKA_TOPIC_PARTITIONS",
        ] {
            assert!(error.contains(name), "{name} in {error}");
        }
        assert!(!error.contains("marked"), "{error}");
        let error = read(&[("RATE_LIMIT_PER_MINUTE", "9")]).unwrap_err().to_string();
        assert!(error.contains("RATE_LIMIT_PER_MINUTE"), "{error}");
    }

    #[test]
    fn a_certificate_without_tls_is_a_mistake() {
        let error = read(&[("KAFKA_CA", r#"{"certificate":"-----BEGIN CERTIFICATE-----"}"#)]).unwrap_err();
        assert!(error.to_string().contains("KAFKA_CA needs TLS"), "{error}");
        assert!(read(&[("KAFKA_CA", "-----BEGIN")]).unwrap_err().to_string().contains("KAFKA_CA"));
    }

    #[test]
    fn more_symbols_than_the_limit_allows_take_turns_evenly() {
        let symbols: Vec<String> = (0..200).map(|number| format!("S{number}")).collect();
        let polling = read(&[("SYMBOLS", &symbols.join(","))]).unwrap().polling;
        assert_eq!(polling.symbols_a_poll(), 5);
        let mut asked = std::collections::HashMap::new();
        for index in 1_000_000..1_000_000 + 80 {
            for symbol in polling.turn(&polling.symbols, index) {
                *asked.entry(symbol).or_insert(0) += 1;
            }
        }
        assert_eq!(asked.len(), 200);
        assert!(asked.values().all(|times| *times == 2), "{asked:?}");
    }

    #[test]
    fn a_symbol_named_twice_is_requested_once() {
        let polling = read(&[("SYMBOLS", "AAPL, MSFT,AAPL")]).unwrap().polling;
        assert_eq!(polling.symbols.len(), 2);
    }

    #[test]
    fn retries_get_what_the_plan_leaves_of_the_rate_limit() {
        let limits = |more: &[(&str, &str)]| read(more).unwrap().polling.limits();
        assert_eq!(limits(&[]), Limits { per_second: 30, per_minute: 60, retries_per_minute: 9 });
        assert_eq!(limits(&[("RATE_LIMIT_PER_MINUTE", "51")]).retries_per_minute, 0);
        assert_eq!(limits(&[("RATE_LIMIT_PER_MINUTE", "6000")]).per_second, 100);
    }
}
