use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use function_kit::{Environment, Secret, chain};
use gcp_bigquery_client::{auth::Authenticator, error::BQError};
use google_cloud_auth::credentials::{AccessTokenCredentials, external_account, service_account};
use serde_json::Value;

use crate::WarehouseError;

/// What a token is asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/bigquery";
/// How long a token may take: an exchange is two requests, and Google's library gives them no limit of their own.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the credentials for Google are: workload identity federation (`external_account`) or a service account's
/// key (`service_account`), as JSON in the form of <https://google.aip.dev/auth/4110>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoogleCredentials {
    /// `GOOGLE_CREDENTIALS_JSON`, or the secret that `GOOGLE_CREDENTIALS_SECRET` names: the JSON itself.
    Json(Secret),
    /// `GOOGLE_APPLICATION_CREDENTIALS`: the path of a file with it.
    File(String),
}

impl GoogleCredentials {
    /// Reads the credentials; `None` where there are none; a problem is noted where there are two.
    pub(crate) fn read(environment: &mut Environment) -> Option<Self> {
        let json = environment.optional("GOOGLE_CREDENTIALS_JSON").map(Self::Json);
        let file = environment.optional("GOOGLE_APPLICATION_CREDENTIALS").map(Self::File);
        if json.is_some() && file.is_some() {
            let both = "credentials for Google (GOOGLE_CREDENTIALS_JSON or GOOGLE_CREDENTIALS_SECRET) and \
                        GOOGLE_APPLICATION_CREDENTIALS are both set, and one is enough";
            environment.problem(both.to_owned());
        }
        json.or(file)
    }

    /// The JSON, and the variable that it is from.
    fn json(&self) -> Result<Value, WarehouseError> {
        let unusable = |reason: &dyn fmt::Display| WarehouseError::Configuration(reason.to_string());
        let (text, origin) = match self {
            Self::Json(json) => (json.clone(), "GOOGLE_CREDENTIALS_JSON"),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    unusable(&format_args!("GOOGLE_APPLICATION_CREDENTIALS {path}: {error}"))
                })?;
                let Ok(text) = text.parse();
                (text, "GOOGLE_APPLICATION_CREDENTIALS")
            }
        };
        // The parser's own message could tell a part of a key.
        serde_json::from_str(text.reveal()).map_err(|_| unusable(&format_args!("{origin} holds no JSON")))
    }
}

/// Why there is no access token.
#[derive(Debug)]
pub(crate) struct NoToken {
    /// What was asked and answered.
    pub reason: String,
    /// Whether another try can help.
    pub retryable: bool,
}

/// Access tokens for BigQuery, each kept until some minutes before its end.
#[derive(Clone)]
pub(crate) struct Google {
    json: Arc<Value>,
    current: Arc<Mutex<AccessTokenCredentials>>,
}

impl Google {
    /// Tokens by these credentials; the first is asked for at once, in the background.
    ///
    /// # Errors
    /// [`WarehouseError::Configuration`] where the credentials are of no known kind or lack something.
    pub fn new(credentials: &GoogleCredentials) -> Result<Self, WarehouseError> {
        // An error says that there is a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut json = credentials.json()?;
        // Google's library asks the machine's metadata service for this before it looks at the environment.
        // Lambda has its credentials there, and no such service.
        if let Some(source) = json.get_mut("credential_source").and_then(Value::as_object_mut) {
            source.remove("imdsv2_session_token_url");
        }
        let current = Arc::new(Mutex::new(build(&json).map_err(WarehouseError::Configuration)?));
        Ok(Self { json: Arc::new(json), current })
    }

    /// An access token that is good now.
    ///
    /// # Errors
    /// [`NoToken`]; the next call asks anew.
    pub async fn token(&self) -> Result<String, NoToken> {
        let credentials = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let failed = match tokio::time::timeout(PATIENCE, credentials.access_token()).await {
            Ok(Ok(token)) => return Ok(token.token),
            Ok(Err(error)) => NoToken { reason: chain(&error), retryable: error.is_transient() },
            Err(_) => NoToken { reason: format!("no answer within {PATIENCE:?}"), retryable: true },
        };
        self.renew();
        Err(failed)
    }

    /// Forgets the token: it was refused, or there is none. Google's library keeps what went wrong as long as a token,
    /// and what stays wrong for ever; a function outlives a permission that came late. It also counts a token's time
    /// by a clock that may stand still while a function is frozen.
    pub fn renew(&self) {
        if let Ok(fresh) = build(&self.json) {
            *self.current.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
    }
}

fn build(json: &Value) -> Result<AccessTokenCredentials, String> {
    let built = match json["type"].as_str() {
        Some("external_account") => {
            external_account::Builder::new(json.clone()).with_scopes([SCOPE]).build_access_token_credentials()
        }
        Some("service_account") => service_account::Builder::new(json.clone())
            .with_access_specifier(service_account::AccessSpecifier::from_scopes([SCOPE]))
            .build_access_token_credentials(),
        kind => {
            let kind = kind.unwrap_or("nothing");
            return Err(format!(
                "Google's credentials are of the type {kind}, not external_account or service_account"
            ));
        }
    };
    built.map_err(|error| format!("Google's credentials cannot be used: {}", chain(&error)))
}

#[async_trait]
impl Authenticator for Google {
    async fn access_token(&self) -> Result<String, BQError> {
        self.token().await.map_err(|_| BQError::NoToken)
    }
}
