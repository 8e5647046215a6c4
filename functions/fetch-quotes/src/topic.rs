//! Creating the topic.

use std::{
    error::Error,
    ffi::{CStr, CString},
    ptr,
    time::Duration,
};

use rdkafka::{
    ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    bindings::rd_kafka_oauthbearer_set_token,
    client::OAuthToken,
    types::RDKafkaErrorCode,
};

use crate::{
    config::KafkaConfig,
    link::{KafkaClientError, Link, client_config},
    security::KafkaSecurity,
};

/// How long the brokers may take: the first polls wait for them.
const PATIENCE: Duration = Duration::from_secs(4);

/// Creates the topic with the configured number of partitions and the brokers' default replication if it does not exist;
/// does nothing if no number is configured. Brokers that cannot be reached, or refuse, get a WARN line: the polls
/// show whether the topic exists. `producer` is the producer's link: it has the reason.
pub(crate) async fn create_topic(config: &KafkaConfig, producer: &Link) {
    let Some(partitions) = config.topic_partitions else { return };
    let topic = config.topic.as_str();
    let link = Link::new(config);
    let admin: AdminClient<Link> = match client_config(config).create_with_context(link.clone()) {
        Ok(admin) => admin,
        Err(error) => {
            let error = KafkaClientError::of(&error, &config.security);
            tracing::warn!(topic, "the topic was not created: {error}");
            return;
        }
    };
    if matches!(config.security, KafkaSecurity::MskIam { .. })
        && let Err(error) = link.generate_oauth_token(None).and_then(|token| set_token(&admin, &token))
    {
        tracing::warn!(topic, "the topic was not created: {error}");
        return;
    }
    let default_replication = TopicReplication::Fixed(-1);
    let new = NewTopic::new(topic, partitions.0, default_replication);
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let created = admin.create_topics([&new], &options).await;
    match created.map(|mut topics| topics.pop()) {
        Ok(Some(Ok(_))) => tracing::info!(topic, partitions = partitions.0, "created the topic"),
        Ok(Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists)))) => {}
        Ok(Some(Err((_, code)))) => tracing::warn!(topic, "the topic was not created: {code}"),
        Ok(None) => tracing::warn!(topic, "the topic was not created: the broker named no topic"),
        Err(error) => {
            let trouble = producer.trouble().unwrap_or_default();
            tracing::warn!(topic, "the topic was not created: {error} {trouble}");
        }
    }
    // Its end waits for its threads.
    tokio::task::spawn_blocking(move || drop(admin));
}

/// Gives the client its access token. The client handles no events, so it would never see librdkafka's request for one.
#[allow(unsafe_code)]
fn set_token(admin: &AdminClient<Link>, token: &OAuthToken) -> Result<(), Box<dyn Error>> {
    let value = CString::new(token.token.as_str())?;
    let principal = CString::new(token.principal_name.as_str())?;
    let mut reason = [0; 256];
    // SAFETY: the client lives as long as `admin`; librdkafka copies the texts, and writes at most the given number
    // of bytes of a text with its end into `reason`.
    let code = unsafe {
        rd_kafka_oauthbearer_set_token(
            admin.inner().native_ptr(),
            value.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            reason.as_mut_ptr(),
            reason.len(),
        )
    };
    match RDKafkaErrorCode::from(code) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => {
            let reason: Vec<u8> = reason.iter().map(|byte| byte.cast_unsigned()).collect();
            let reason = CStr::from_bytes_until_nul(&reason).unwrap_or_default();
            // Nothing of the token.
            let reason = reason.to_string_lossy().replace(&token.token, "***");
            Err(format!("{code}: {reason}").into())
        }
    }
}
