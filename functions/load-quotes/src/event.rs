use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

/// An object that an event names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key, decoded.
    pub key: String,
}

/// One message of an event. It is acknowledged or fails as a whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// SQS's `messageId`; `None` if the event did not come from a queue.
    pub id: Option<String>,
    /// The objects that it names. `s3:TestEvent` and events that are not about created objects name none.
    pub objects: Result<Vec<ObjectRef>, UnknownMessage>,
}

/// A message that is not an S3 event in any of its forms.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an S3 event: {0}")]
pub struct UnknownMessage(String);

/// Reads an event: S3's own, EventBridge's form of it, or either of them inside SQS messages, SNS notifications, or SNS
/// notifications inside SQS messages (with raw delivery the message is S3's own event).
///
/// Formats: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>,
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>,
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html>,
/// <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>.
#[must_use]
pub fn messages(event: &Value) -> Vec<Message> {
    let records = event.get("Records").and_then(Value::as_array);
    match records {
        Some(records) if records.iter().any(|record| record.get("messageId").is_some()) => {
            records.iter().map(sqs_message).collect()
        }
        Some(records) if records.iter().any(|record| record.get("Sns").is_some()) => {
            records.iter().map(|record| Message { id: None, objects: notified(&record["Sns"]) }).collect()
        }
        _ => vec![Message { id: None, objects: objects(event) }],
    }
}

fn sqs_message(record: &Value) -> Message {
    let text = |name: &str| record.get(name).and_then(Value::as_str).map(str::to_owned);
    let body = text("body").unwrap_or_default();
    let objects = match serde_json::from_str::<Value>(&body) {
        Ok(body) if body.get("TopicArn").is_some() => notified(&body),
        Ok(event) => objects(&event),
        Err(error) => Err(UnknownMessage(format!("the body is not JSON: {error}"))),
    };
    Message { id: text("messageId"), objects }
}

/// The objects that an SNS notification names. A request to confirm a subscription is an error: somebody must confirm
/// it.
fn notified(notification: &Value) -> Result<Vec<ObjectRef>, UnknownMessage> {
    let text = |name: &str| notification.get(name).and_then(Value::as_str);
    if let Some(kind) = text("Type").filter(|kind| *kind != "Notification") {
        return Err(UnknownMessage(format!("SNS sent the type {kind}, not Notification")));
    }
    let message =
        text("Message").ok_or_else(|| UnknownMessage("SNS's notification has no Message".to_owned()))?;
    let event: Value = serde_json::from_str(message)
        .map_err(|error| UnknownMessage(format!("the Message of SNS's notification is not JSON: {error}")))?;
    objects(&event)
}

#[derive(Deserialize)]
struct S3Record {
    #[serde(rename = "eventName", default)]
    event_name: String,
    s3: S3Entity,
}

#[derive(Deserialize)]
struct S3Entity {
    bucket: S3Bucket,
    object: S3Object,
}

#[derive(Deserialize)]
struct S3Bucket {
    name: String,
}

#[derive(Deserialize)]
struct S3Object {
    key: String,
}

fn objects(event: &Value) -> Result<Vec<ObjectRef>, UnknownMessage> {
    if event.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Ok(Vec::new());
    }
    if let Some(records) = event.get("Records").and_then(Value::as_array) {
        return records.iter().filter_map(|record| s3_record(record).transpose()).collect();
    }
    if event.get("source").and_then(Value::as_str) == Some("aws.s3") {
        if event.get("detail-type").and_then(Value::as_str) != Some("Object Created") {
            return Ok(Vec::new());
        }
        let detail = event.get("detail").cloned().unwrap_or_default();
        let S3Entity { bucket, object } =
            serde_json::from_value(detail).map_err(|error| UnknownMessage(error.to_string()))?;
        // EventBridge's keys are not encoded, unlike S3's own.
        return Ok(vec![ObjectRef { bucket: bucket.name, key: object.key }]);
    }
    Err(UnknownMessage("neither \"Records\" nor \"detail\"".to_owned()))
}

fn s3_record(record: &Value) -> Result<Option<ObjectRef>, UnknownMessage> {
    let unknown = |error: serde_json::Error| UnknownMessage(error.to_string());
    let S3Record { event_name, s3 } = serde_json::from_value(record.clone()).map_err(unknown)?;
    if !event_name.is_empty() && !event_name.contains("ObjectCreated:") {
        return Ok(None);
    }
    let key = decode(&s3.object.key)?;
    Ok(Some(ObjectRef { bucket: s3.bucket.name, key }))
}

/// Decodes a key of S3's own events, which is form-encoded: a space is `+` (or `%20` on LocalStack), a plus is
/// `%2B`.
fn decode(key: &str) -> Result<String, UnknownMessage> {
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| UnknownMessage(format!("the key {key:?} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(event: &str) -> Vec<Message> {
        messages(&serde_json::from_str(event).unwrap())
    }

    fn keys(event: &str) -> Vec<String> {
        read(event)
            .into_iter()
            .flat_map(|message| message.objects.unwrap())
            .map(|object| object.key)
            .collect()
    }

    #[test]
    fn every_recorded_payload_names_its_objects() {
        assert_eq!(keys(include_str!("../tests/payloads/s3.json")), ["AAPL/1704067256.json"]);
        assert_eq!(keys(include_str!("../tests/payloads/sqs-s3.json")), ["AAPL/1.json", "MSFT/1.json"]);
        assert_eq!(keys(include_str!("../tests/payloads/eventbridge.json")), ["IC MARKETS:1/1.json"]);
        assert_eq!(keys(include_str!("../tests/payloads/sqs-eventbridge.json")), ["A+B%2B/1.json"]);
        assert_eq!(
            keys(include_str!("../tests/payloads/s3-odd-keys.json")),
            ["IC MARKETS:1/1.json", "IC MARKETS:1/2.json", "A+B/3.json", "^DJI/4.json"]
        );
        assert_eq!(keys(include_str!("../tests/payloads/sns.json")), ["AAPL/1.json"]);
        assert_eq!(keys(include_str!("../tests/payloads/sqs-sns.json")), ["AAPL/1.json"]);
    }

    #[test]
    fn whatever_s3_or_eventbridge_says_is_read_through_sns_and_sqs_too() {
        for payload in [
            include_str!("../tests/payloads/s3.json"),
            include_str!("../tests/payloads/s3-odd-keys.json"),
            include_str!("../tests/payloads/s3-removed.json"),
            include_str!("../tests/payloads/eventbridge.json"),
            r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"bronze"}"#,
        ] {
            let notification = serde_json::json!({ "Type": "Notification", "MessageId": "n1",
                "TopicArn": "arn:aws:sns:us-east-1:000000000000:t", "Message": payload });
            let by_sns =
                serde_json::json!({ "Records": [{ "EventSource": "aws:sns", "Sns": notification }] });
            let by_both =
                serde_json::json!({ "Records": [{ "messageId": "m1", "body": notification.to_string() }] });
            let raw = serde_json::json!({ "Records": [{ "messageId": "m1", "body": payload }] });
            for (event, id) in [(by_sns, None), (by_both, Some("m1")), (raw, Some("m1"))] {
                assert_eq!(keys(&event.to_string()), keys(payload), "{event}");
                assert_eq!(read(&event.to_string())[0].id.as_deref(), id);
            }
        }
    }

    #[test]
    fn a_notification_that_names_no_event_says_why() {
        for (notification, expected) in [
            (
                r#"{"Type":"SubscriptionConfirmation","TopicArn":"t","Message":"confirm"}"#,
                "SubscriptionConfirmation",
            ),
            (r#"{"Type":"Notification","TopicArn":"t"}"#, "has no Message"),
            (r#"{"Type":"Notification","TopicArn":"t","Message":"hello"}"#, "is not JSON"),
            (r#"{"Type":"Notification","TopicArn":"t","Message":"{}"}"#, "neither"),
        ] {
            let event = serde_json::json!({ "Records": [{ "messageId": "m1", "body": notification }] });
            let [message] = read(&event.to_string()).try_into().unwrap();
            let error = message.objects.unwrap_err().to_string();
            assert!(error.contains(expected), "{expected} in {error}");
        }
    }

    #[test]
    fn test_events_and_deletions_name_no_object() {
        assert_eq!(keys(include_str!("../tests/payloads/sqs-test-event.json")), [""; 0]);
        assert_eq!(keys(include_str!("../tests/payloads/s3-removed.json")), [""; 0]);
    }

    #[test]
    fn a_message_that_is_no_event_fails_alone() {
        let messages = read(include_str!("../tests/payloads/sqs-poison.json"));
        let fates: Vec<_> = messages
            .iter()
            .map(|message| (message.id.as_deref().unwrap(), message.objects.is_ok()))
            .collect();
        assert_eq!(fates, [("m1", false), ("m2", true), ("m3", false), ("m4", false)]);
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in any::<String>()) {
            let event = serde_json::json!({ "Records": [{ "messageId": "m", "body": body }] });
            prop_assert_eq!(messages(&event).len(), 1);
        }

        #[test]
        fn any_key_is_decoded_as_s3_encodes_it(key in "[A-Z a-z0-9+%/:^.-]{1,40}") {
            let encoded = percent_encoding::utf8_percent_encode(&key, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
                .replace("%20", "+");
            prop_assert_eq!(decode(&encoded).unwrap(), key);
        }
    }
}
