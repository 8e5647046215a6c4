//! Access tokens from Google's token services.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use function_kit::{Secret, chain, lock, without_passwords};
use gcp_bigquery_client::{auth::Authenticator, error::BQError};
use google_cloud_auth::credentials::{AccessTokenCredentials, external_account, service_account};
use serde_json::Value;

use crate::{
    WarehouseError,
    credentials::{GoogleCredentials, Kind},
};

/// The scope of the token.
const SCOPE: &str = "https://www.googleapis.com/auth/bigquery";
/// How long a token may take. An exchange is two requests, and Google's library sets no time limit for them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longer words of Google's messages are not logged: a signed request or a token has hundreds of characters, an
/// audience about 110.
const LONGEST_WORD: usize = 200;

/// Why there is no access token.
#[derive(Debug)]
pub(crate) struct NoToken {
    /// What was requested, and the answer.
    pub reason: String,
    /// Whether another attempt can help.
    pub retryable: bool,
}

/// Access tokens for BigQuery, each kept until some minutes before it expires.
#[derive(Clone)]
pub(crate) struct Google {
    credentials: Arc<GoogleCredentials>,
    current: Arc<Mutex<AccessTokenCredentials>>,
}

impl Google {
    /// Tokens for these credentials. The first is requested immediately, in the background.
    ///
    /// # Errors
    /// [`WarehouseError::Configuration`] if Google's library does not accept them.
    pub fn new(credentials: &GoogleCredentials) -> Result<Self, WarehouseError> {
        // An error means that there is a provider already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let current = Arc::new(Mutex::new(build(credentials)?));
        Ok(Self { credentials: Arc::new(credentials.clone()), current })
    }

    /// An access token that is valid now.
    ///
    /// # Errors
    /// [`NoToken`]; the next call tries again.
    pub async fn token(&self) -> Result<String, NoToken> {
        let credentials = lock(&self.current).clone();
        let failed = match tokio::time::timeout(PATIENCE, credentials.access_token()).await {
            Ok(Ok(token)) => return Ok(token.token),
            Ok(Err(error)) => {
                NoToken { reason: self.reason(&chain(&error)), retryable: error.is_transient() }
            }
            Err(_) => NoToken { reason: format!("no answer within {PATIENCE:?}"), retryable: true },
        };
        self.renew();
        Err(failed)
    }

    /// Forgets the token that was refused or could not be had. Google's library keeps a temporary error as long as
    /// a token, and a permanent one for ever, even if the permission is granted later. It also measures a token's age
    /// by a clock that may stop while a function is frozen.
    pub fn renew(&self) {
        if let Ok(fresh) = build(&self.credentials) {
            *lock(&self.current) = fresh;
        }
    }

    /// The message of an error of Google's library, without the data that was sent for a token or received as a token.
    fn reason(&self, error: &str) -> String {
        let mut told = error.to_owned();
        // The library quotes a service's whole answer: `<what failed>, body=<answer> <whether it passes>: <the HTTP
        // status>`.
        if let Some((_, rest)) = error.split_once(", body=<")
            && let Some((body, after)) = rest.rsplit_once('>')
        {
            let status = after.split_once(": ").map_or("", |(_, status)| status);
            told = format!("{status}: {}", words(body));
        }
        // The rest quotes the answer, which may be a token.
        if let Some((before, _)) = told.split_once("error decoding response body") {
            told = format!("{before}the answer contains no token");
        }
        let secrets = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].map(|name| std::env::var(name).ok());
        let field = |name: &str| self.credentials.json[name].as_str().map(str::to_owned);
        let client = field("client_id").zip(field("client_secret"));
        let basic = client.map(|(id, secret)| BASE64_STANDARD.encode(format!("{id}:{secret}")));
        let secrets = secrets.into_iter().chain([field("client_secret"), basic]).flatten().map(Secret::from);
        secrets.fold(without_passwords(&told), |told, secret| secret.redact(&told))
    }
}

/// Google's error message, in either of its two formats. An answer in another format is not shown.
fn words(body: &str) -> String {
    // After the JSON there is text of the library.
    let mut values = serde_json::Deserializer::from_str(body).into_iter::<Value>();
    let Some(Ok(body)) = values.next() else { return "no reason".to_owned() };
    let error = &body["error"];
    let texts = [&error["status"], &error["message"], error, &body["error_description"]];
    let texts: Vec<&str> = texts.into_iter().filter_map(Value::as_str).collect();
    if texts.is_empty() {
        return "no reason".to_owned();
    }
    let text = texts.join(": ");
    let words: Vec<&str> =
        text.split(' ').map(|word| if word.len() > LONGEST_WORD { "***" } else { word }).collect();
    words.join(" ")
}

fn build(credentials: &GoogleCredentials) -> Result<AccessTokenCredentials, WarehouseError> {
    let json = credentials.json.clone();
    let (kind, built) = match credentials.kind {
        Kind::ExternalAccount => {
            let builder = external_account::Builder::new(json).with_scopes([SCOPE]);
            ("external_account", builder.build_access_token_credentials())
        }
        Kind::ServiceAccount => {
            let scopes = service_account::AccessSpecifier::from_scopes([SCOPE]);
            let builder = service_account::Builder::new(json).with_access_specifier(scopes);
            ("service_account", builder.build_access_token_credentials())
        }
    };
    // The library's own message could contain a part of them.
    built.map_err(|_| {
        WarehouseError::Configuration(format!(
            "Google's credentials of the type {kind} cannot be used: a field is missing or has an unexpected value"
        ))
    })
}

#[async_trait]
impl Authenticator for Google {
    async fn access_token(&self) -> Result<String, BQError> {
        self.token().await.map_err(|_| BQError::NoToken)
    }
}
