//! The live Finnhub, or a server with the same API: sends a request, and describes what is wrong with the answer.

use std::{error::Error, time::Duration};

use anyhow::Context;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};
use jiff::Timestamp;
use reqwest::{Client, Url, redirect::Policy};
use serde::Deserialize;

/// A little longer than fetch-quotes waits.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(2);
/// How many characters of Finnhub's own message are shown.
const WORDS: usize = 60;

/// The server of the quotes, with the key.
#[derive(Clone)]
pub(crate) struct Upstream {
    client: Client,
    base_url: String,
    key: String,
    header: HeaderValue,
}

/// An answer, right or wrong.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Why there are no quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The key is not accepted.
    Refused { status: u16, words: String },
    /// Too many requests; `until` is in seconds since 1970.
    RateLimited { limit: Option<u64>, until: Option<i64> },
    /// Any other status.
    Status { status: u16, words: String },
    /// No connection.
    Unreachable(String),
    /// A connection without an answer.
    Silent,
    /// A web page.
    Html,
    /// Not JSON, or an error although the status is 200.
    Odd(String),
    /// Every number is zero.
    NoData(String),
}

impl Trouble {
    /// The problem, in one line.
    pub(crate) fn text(&self) -> String {
        let said = |words: &str| if words.is_empty() { String::new() } else { format!(": {words}") };
        match self {
            Self::Refused { status, words } => {
                format!("Finnhub refuses FINNHUB_API_KEY (HTTP {status}{})", said(words))
            }
            Self::RateLimited { limit, until } => {
                let limit = limit.map_or_else(String::new, |limit| format!(" of {limit} requests a minute"));
                let left = until.map_or(0, |until| until - Timestamp::now().as_second());
                let wait = if left > 0 { format!("; waiting {left} s") } else { String::new() };
                format!("Finnhub's limit{limit} is reached (HTTP 429){wait}")
            }
            Self::Status { status, words } => format!("Finnhub answers HTTP {status}{}", said(words)),
            Self::Unreachable(why) => format!("Finnhub cannot be reached: {why}"),
            Self::Silent => "Finnhub does not answer in time".to_owned(),
            Self::Html => "Finnhub answers with a web page instead of JSON".to_owned(),
            Self::Odd(words) => format!("Finnhub's answer is not a quote: {words}"),
            Self::NoData(symbol) => format!("Finnhub has no data for {symbol}"),
        }
    }
}

impl Upstream {
    /// The server at `base_url`, with `key` in each request.
    ///
    /// # Errors
    /// If the key cannot be sent, or the address is not valid.
    pub(crate) fn new(base_url: &str, key: &str) -> anyhow::Result<Self> {
        let mut header = HeaderValue::from_str(key).ok().filter(|_| !key.trim().is_empty());
        if let Some(header) = &mut header {
            header.set_sensitive(true);
        }
        let header = header.context("FINNHUB_API_KEY has characters that a key cannot have")?;
        let base_url = base_url.trim_end_matches('/');
        let url = Url::parse(base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
        let url = url.with_context(|| {
            format!("FINNHUB_BASE_URL {base_url:?} is not an address such as https://finnhub.io/api/v1")
        })?;
        // The header with the key must not be sent to another server.
        let client = Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT).redirect(Policy::none());
        let is_here = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        let client = if is_here { client.no_proxy() } else { client }.build()?;
        Ok(Self { client, base_url: base_url.to_owned(), key: key.to_owned(), header })
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Requests a path with its query, such as `quote?symbol=AAPL`.
    ///
    /// # Errors
    /// [`Trouble`] if there is no answer at all.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Trouble> {
        let request = self.client.get(format!("{}/{path}", self.base_url));
        let answer = request.header("X-Finnhub-Token", self.header.clone()).send().await;
        let answer = answer.map_err(|error| self.no_answer(&error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(|error| self.no_answer(&error))?.to_vec();
        Ok(Answer { status, headers, body })
    }

    fn no_answer(&self, error: &reqwest::Error) -> Trouble {
        if error.is_timeout() && !error.is_connect() {
            return Trouble::Silent;
        }
        let mut innermost: &dyn Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let why = innermost.to_string();
        let why = why.split(" (os error").next().unwrap_or_default();
        Trouble::Unreachable(self.words(why))
    }

    /// What is wrong with an answer, if anything is.
    pub(crate) fn trouble(&self, answer: &Answer) -> Option<Trouble> {
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
        }
        let words = serde_json::from_slice::<Refusal>(&answer.body).map(|refusal| self.words(&refusal.error));
        let is_json = serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok();
        let is_html = answer.body.trim_ascii_start().starts_with(b"<");
        let status = answer.status.as_u16();
        Some(match (answer.status, words) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, words) => {
                Trouble::Refused { status, words: words.unwrap_or_default() }
            }
            (StatusCode::TOO_MANY_REQUESTS, _) => Trouble::RateLimited {
                limit: number(&answer.headers, "x-ratelimit-limit"),
                until: reset(&answer.headers),
            },
            // An invalid key may be answered with 200.
            (StatusCode::OK, Ok(words)) if words.to_ascii_lowercase().contains("api key") => {
                Trouble::Refused { status, words }
            }
            (StatusCode::OK, Ok(words)) => Trouble::Odd(words),
            (StatusCode::OK, Err(_)) if is_html => Trouble::Html,
            (StatusCode::OK, Err(_)) if !is_json => Trouble::Odd("not JSON".to_owned()),
            (StatusCode::OK, Err(_)) => return None,
            (_, words) => Trouble::Status { status, words: words.unwrap_or_default() },
        })
    }

    /// A server's message on one line, without the key.
    fn words(&self, text: &str) -> String {
        let text = text.replace(&self.key, "***");
        let line: String =
            text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
        let line = line.trim();
        if line.chars().count() <= WORDS {
            return line.to_owned();
        }
        let short: String = line.chars().take(WORDS).collect();
        // The last word may be cut off.
        format!("{}…", short.rsplit_once(' ').map_or(short.as_str(), |(whole, _)| whole))
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// When the limit allows requests again, in seconds since 1970.
fn reset(headers: &HeaderMap) -> Option<i64> {
    let reset = number(headers, "x-ratelimit-reset").and_then(|reset| i64::try_from(reset).ok());
    let pause = || number(headers, RETRY_AFTER.as_str()).and_then(|pause| i64::try_from(pause).ok());
    reset.or_else(|| Some(Timestamp::now().as_second().saturating_add(pause()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(status: u16, body: &str) -> Option<String> {
        let upstream = Upstream::new("http://127.0.0.1:9/api/v1/", "marked-key").unwrap();
        let (status, body) = (StatusCode::from_u16(status).unwrap(), body.as_bytes().to_vec());
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-limit", HeaderValue::from(60));
        upstream.trouble(&Answer { status, headers, body }).map(|trouble| trouble.text())
    }

    #[test]
    fn each_trouble_has_words_of_its_own() {
        for (status, body, said) in [
            (
                401,
                r#"{"error":"Invalid API key"}"#,
                "Finnhub refuses FINNHUB_API_KEY (HTTP 401: Invalid API key)",
            ),
            (
                200,
                r#"{"error":"Please use an API key."}"#,
                "Finnhub refuses FINNHUB_API_KEY (HTTP 200: Please use an API key.)",
            ),
            (429, "", "Finnhub's limit of 60 requests a minute is reached (HTTP 429)"),
            (500, "oops", "Finnhub answers HTTP 500"),
            (503, r#"{"error":"out of order"}"#, "Finnhub answers HTTP 503: out of order"),
            (200, "<html>", "Finnhub answers with a web page instead of JSON"),
            (200, r#"{"c":1"#, "Finnhub's answer is not a quote: not JSON"),
            (
                200,
                r#"{"error":"You don't have access"}"#,
                "Finnhub's answer is not a quote: You don't have access",
            ),
        ] {
            assert_eq!(trouble(status, body).as_deref(), Some(said));
        }
        assert_eq!(trouble(200, r#"{"c":1}"#), None);
    }

    #[test]
    fn a_servers_words_are_one_short_line_without_the_key() {
        let said = trouble(500, r#"{"error":"marked-key\u001b[31m\nis wrong"}"#).unwrap();
        assert_eq!(said, "Finnhub answers HTTP 500: *** [31m is wrong");
        let long = format!(r#"{{"error":"{}"}}"#, "x".repeat(500));
        assert!(trouble(500, &long).unwrap().len() < 100);
    }

    #[test]
    fn an_address_or_a_key_that_cannot_be_used_is_named() {
        for (url, key, named) in [
            ("finnhub.io", "key", "FINNHUB_BASE_URL"),
            ("ftp://x", "key", "FINNHUB_BASE_URL"),
            ("http://127.0.0.1", "a\nb", "FINNHUB_API_KEY"),
            ("http://127.0.0.1", " ", "FINNHUB_API_KEY"),
        ] {
            let error = Upstream::new(url, key).err().unwrap().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
