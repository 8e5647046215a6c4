//! Access tokens of MSK: a signed request that is never sent, as text. The broker sends it to AWS to learn who it is.
//!
//! The format is that of AWS's own signers, such as <https://github.com/aws/aws-msk-iam-sasl-signer-python>: a `GET` of
//! `https://kafka.{region}.amazonaws.com/?Action=kafka-cluster:Connect`, signed in its query with Signature Version 4
//! for the service `kafka-cluster` and 900 seconds, with the signer's name as `User-Agent` added, in base64url.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// How long a token is good: what MSK allows at most.
const LIFETIME: Duration = Duration::from_mins(15);
const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
/// What a signed query has encoded: all but RFC 3986's unreserved characters.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A token with which a broker lets the credentials' owner in.
pub(crate) struct AccessToken {
    /// The token.
    pub value: String,
    /// When it ends, in milliseconds since 1970.
    pub expires_at_ms: i64,
}

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("no access token for MSK: AWS_REGION {region:?} is not a valid region")]
pub(crate) struct TokenError {
    region: String,
}

/// A token for the region's clusters, valid for 900 seconds from `now` on. No request to AWS is made.
///
/// # Errors
/// [`TokenError`] where the region cannot be part of a request.
pub(crate) fn access_token(
    region: &str,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<AccessToken, TokenError> {
    // The signer's own message may contain what it signs with.
    let failed = || TokenError { region: region.to_owned() };
    let mut url = format!("https://kafka.{region}.amazonaws.com/?Action=kafka-cluster%3AConnect");
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFETIME);
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("kafka-cluster")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|_| failed())?;
    let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]))
        .map_err(|_| failed())?;
    let (signed, _) = sign(request, &parameters.into()).map_err(|_| failed())?.into_parts();
    for (name, value) in signed.params() {
        url = format!("{url}&{name}={}", utf8_percent_encode(value, QUERY));
    }
    url = format!("{url}&User-Agent={}", utf8_percent_encode(USER_AGENT, QUERY));
    let expires_at = (now + LIFETIME).duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(AccessToken {
        value: BASE64_URL_SAFE_NO_PAD.encode(url),
        expires_at_ms: i64::try_from(expires_at.as_millis()).unwrap_or(i64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20T15:04:00Z
    const NOW_S: u64 = 1_795_187_040;

    fn token_at(seconds: u64, session: Option<&str>) -> (Vec<String>, i64) {
        let session = session.map(str::to_owned);
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let credentials = Credentials::new("AKIDEXAMPLE", secret, session, None, "test");
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        let token = access_token("eu-central-1", &credentials, now).unwrap();
        let url = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(token.value).unwrap()).unwrap();
        let query = url.strip_prefix("https://kafka.eu-central-1.amazonaws.com/?").unwrap();
        (query.split('&').map(str::to_owned).collect(), token.expires_at_ms)
    }

    fn sorted(mut parts: Vec<String>) -> Vec<String> {
        parts.sort();
        parts
    }

    /// The signatures are those of botocore's `SigV4QueryAuth`, by which AWS's own signer for Python makes them.
    #[test]
    fn a_token_is_the_request_that_awss_own_signer_makes() {
        let common = [
            "Action=kafka-cluster%3AConnect",
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "X-Amz-Credential=AKIDEXAMPLE%2F20261120%2Feu-central-1%2Fkafka-cluster%2Faws4_request",
            "X-Amz-Date=20261120T150400Z",
            "X-Amz-Expires=900",
            "X-Amz-SignedHeaders=host",
        ];
        let with_session = [
            "X-Amz-Security-Token=session%2Ftoken%2Bwith%3Dsigns",
            "X-Amz-Signature=30b9f82f34e50a2fdbd26711978736e1f86523150ada7bdff98121b2721c1afe",
        ];
        let without = ["X-Amz-Signature=55e61ff048e688e1a43442bda9947846903dc571d13b3a38e5969853a0b5294c"];
        let agent = concat!("User-Agent=fetch-quotes%2F", env!("CARGO_PKG_VERSION"));
        for (session, more) in [(Some("session/token+with=signs"), with_session.as_slice()), (None, &without)]
        {
            let (parts, expires_at_ms) = token_at(NOW_S, session);
            assert_eq!(parts.last().unwrap(), agent, "added after the signature");
            let expected = common.iter().chain(more).chain([&agent]).map(|part| (*part).to_owned());
            assert_eq!(sorted(parts), sorted(expected.collect()));
            assert_eq!(expires_at_ms, i64::try_from((NOW_S + 900) * 1000).unwrap());
        }
    }

    #[test]
    fn an_invalid_region_is_named_in_the_error() {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
        let error = access_token("no region", &credentials, UNIX_EPOCH).err().unwrap().to_string();
        assert!(error.contains("no region") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_later_token_is_another_one_with_a_later_end() {
        let ((first, first_end), (second, second_end)) = (token_at(NOW_S, None), token_at(NOW_S + 720, None));
        assert_eq!(second_end - first_end, 720_000);
        let signature =
            |parts: &[String]| parts.iter().find(|part| part.starts_with("X-Amz-Signature")).cloned();
        assert_ne!(signature(&first), signature(&second));
    }
}
