//! What librdkafka's clients have in common: their configuration, their access tokens, and what they say of errors.

use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use function_kit::lock;
use rdkafka::{
    ClientConfig, ClientContext, Statistics, client::OAuthToken, error::KafkaError, types::RDKafkaErrorCode,
};
use tokio::sync::watch;

use crate::{config::KafkaConfig, msk_iam::access_token, security::KafkaSecurity};

/// The longest pause before the next attempt to connect to a broker that was down.
const RECONNECT: Duration = Duration::from_millis(500);

/// What librdkafka asks a client and reports to it, on librdkafka's own threads. A clone shares what it
/// received.
#[derive(Clone)]
pub(crate) struct Link {
    security: KafkaSecurity,
    trouble: Arc<Mutex<Option<String>>>,
    /// Whether an idempotent producer has its id.
    has_id: Arc<watch::Sender<bool>>,
}

impl Link {
    pub fn new(config: &KafkaConfig) -> Self {
        Self { security: config.security.clone(), trouble: Arc::default(), has_id: Arc::default() }
    }

    /// What went wrong last: refused credentials, an unknown certificate, no connection. A record's own error only
    /// says that its time was over.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// Waits until an idempotent producer has its id. Before, it sends nothing.
    pub async fn has_id(&self) {
        // An error says that the sender is gone, and `self` has it.
        let _ = self.has_id.subscribe().wait_for(|has_id| *has_id).await;
    }

    /// Forgets what went wrong.
    pub fn works(&self) {
        *lock(&self.trouble) = None;
    }
}

impl ClientContext for Link {
    /// Only called if the mechanism is OAUTHBEARER, and again after four fifths of a token's time.
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn error(&self, error: KafkaError, reason: &str) {
        // It follows each broker's own reason and has none.
        if matches!(error, KafkaError::Global(RDKafkaErrorCode::AllBrokersDown)) {
            return;
        }
        *lock(&self.trouble) = Some(self.security.redact(reason));
    }

    /// Only the statistics report the id. They come every `statistics.interval.ms`, if that is set.
    fn stats_raw(&self, statistics: &[u8]) {
        if *self.has_id.borrow() {
            return;
        }
        let statistics = serde_json::from_slice::<Statistics>(statistics).ok();
        if statistics.and_then(|all| all.eos).is_some_and(|eos| eos.idemp_state == "Assigned") {
            self.has_id.send_replace(true);
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let KafkaSecurity::MskIam { region, credentials } = &self.security else {
            return Err("no access token is needed".into());
        };
        let token = access_token(region, credentials, SystemTime::now())?;
        // The broker takes the principal from the token.
        Ok(OAuthToken { token: token.value, principal_name: String::new(), lifetime_ms: token.expires_at_ms })
    }
}

/// Settings that librdkafka refuses.
#[derive(Debug, thiserror::Error)]
pub enum KafkaClientError {
    /// One setting. Its value is not shown: it may be a password.
    #[error(
        "librdkafka rejects the setting {0}, which comes from KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY and KAFKA_SASL"
    )]
    Setting(String),
    /// Several together, or something else than a setting.
    #[error("the Kafka client cannot be created: {0}")]
    Client(String),
}

impl KafkaClientError {
    pub(crate) fn of(error: &KafkaError, security: &KafkaSecurity) -> Self {
        match error {
            KafkaError::ClientConfig(_, _, setting, _) => Self::Setting(setting.clone()),
            error => Self::Client(security.redact(&error.to_string())),
        }
    }
}

/// What every client of the configured brokers is made from.
pub(crate) fn client_config(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.bootstrap_servers)
        .set("client.id", "fetch-quotes")
        .set("socket.keepalive.enable", "true")
        // Its default of 10 s outlasts a delivery: quotes would time out while a broker is back already.
        .set("reconnect.backoff.max.ms", RECONNECT.as_millis().to_string());
    config.security.configure(&mut client);
    if let Some(authority) = &config.authority {
        authority.configure(&mut client);
    }
    client
}
