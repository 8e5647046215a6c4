//! Credentials for Google, read and checked when the function starts: a library might print an unusable key in its
//! error.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use function_kit::Environment;
use rustls::{
    SignatureScheme,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Map, Value};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// How long a line of PEM is: RFC 7468.
const PEM_LINE: usize = 64;

/// Credentials for Google: workload identity federation (`external_account`) or a service account's key
/// (`service_account`), in the form of <https://google.aip.dev/auth/4110>. They are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct GoogleCredentials {
    pub(crate) kind: Kind,
    pub(crate) json: Value,
}

/// The kinds of credentials that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    ExternalAccount,
    ServiceAccount,
}

/// Why credentials cannot be used, and how they should look. It never contains a part of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableCredentials {
    /// Not a JSON object.
    #[error(
        "the value is not a JSON object ({0}); it should be the file that Google wrote, which begins with {{\"type\": \
         \"service_account\" or {{\"type\": \"external_account\""
    )]
    Json(String),
    /// The type is not accepted.
    #[error("the field type is {0}; it should be service_account or external_account")]
    Type(String),
    /// A field is missing, or is not a text.
    #[error("the field {0} is missing or not a text; the file that Google wrote has it")]
    Field(&'static str),
    /// The private key cannot sign.
    #[error(
        "the field private_key cannot be used: {0}; it should be the text of the file that Google wrote: {BEGIN}, a line \
         break or \\n, the key in base64, a line break or \\n, and {END}"
    )]
    PrivateKey(&'static str),
}

impl fmt::Debug for GoogleCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GoogleCredentials").field(&self.kind).field(&"***").finish()
    }
}

impl GoogleCredentials {
    /// Reads the credentials from `GOOGLE_CREDENTIALS_JSON` (also as the secret that `GOOGLE_CREDENTIALS_SECRET` names)
    /// or the file that `GOOGLE_APPLICATION_CREDENTIALS` names. `None` if neither is set. If both are set, or the
    /// credentials cannot be used, a problem is noted and the result is `None`.
    pub(crate) fn read(environment: &mut Environment) -> Option<Self> {
        const JSON: &str = "GOOGLE_CREDENTIALS_JSON";
        const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
        let json: Option<String> = environment.get(JSON);
        let path: Option<String> = environment.get(FILE);
        let (origin, text) = match (json, path) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                environment
                    .problem(format!("{} and {FILE} are both set; set only one", environment.origin(JSON)));
                return None;
            }
            (Some(json), None) => (environment.origin(JSON).to_owned(), json),
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => (format!("{FILE} {path}"), text),
                Err(error) => {
                    environment.problem(format!("{FILE} {path}: the file cannot be read: {error}"));
                    return None;
                }
            },
        };
        let credentials = Self::parse(&text);
        credentials.map_err(|error| environment.problem(format!("{origin}: {error}"))).ok()
    }

    /// The credentials in `text`: JSON, also in base64, as in Terraform's output of a service account's key. In a
    /// private key, tools change line breaks: they may also be the two characters `\n`, spaces, or missing.
    ///
    /// # Errors
    /// [`UnusableCredentials`] names the field.
    pub fn parse(text: &str) -> Result<Self, UnusableCredentials> {
        let mut fields = object(text)?;
        let kind = match fields.get("type").and_then(Value::as_str) {
            Some("external_account") => Kind::ExternalAccount,
            Some("service_account") => Kind::ServiceAccount,
            // Only types that Google's tools write are shown. Anything else may be a part of a key.
            Some(
                other @ ("authorized_user"
                | "impersonated_service_account"
                | "external_account_authorized_user"
                | "gdch_service_account"),
            ) => return Err(UnusableCredentials::Type(other.to_owned())),
            Some(_) => return Err(UnusableCredentials::Type("something else".to_owned())),
            None => return Err(UnusableCredentials::Field("type")),
        };
        let required: &[&'static str] = match kind {
            Kind::ExternalAccount => &["audience", "subject_token_type", "token_url"],
            Kind::ServiceAccount => &["client_email", "private_key_id", "private_key", "project_id"],
        };
        for &field in required {
            if fields.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
                return Err(UnusableCredentials::Field(field));
            }
        }
        match kind {
            Kind::ServiceAccount => {
                let key = private_key(fields["private_key"].as_str().unwrap_or_default());
                fields["private_key"] = key.map_err(UnusableCredentials::PrivateKey)?.into();
            }
            Kind::ExternalAccount => {
                let Some(source) = fields.get_mut("credential_source").and_then(Value::as_object_mut) else {
                    return Err(UnusableCredentials::Field("credential_source"));
                };
                // With this field, Google's library calls the machine's metadata service before it reads the
                // environment. Lambda has no such service, and its credentials are in the environment.
                source.remove("imdsv2_session_token_url");
            }
        }
        Ok(Self { kind, json: Value::Object(fields) })
    }
}

fn object(text: &str) -> Result<Map<String, Value>, UnusableCredentials> {
    // Some editors begin a file with a byte order mark.
    let text = text.trim_start_matches('\u{feff}').trim();
    let unwrapped;
    let text = if text.starts_with('{') {
        text
    } else {
        let compact: String = text.split_whitespace().collect();
        let decoded = BASE64_STANDARD.decode(compact).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        unwrapped = decoded.ok_or_else(|| UnusableCredentials::Json(what_it_is(text).to_owned()))?;
        unwrapped.trim()
    };
    serde_json::from_str(text).map_err(|error| {
        // The parser's own message could contain a part of a key.
        UnusableCredentials::Json(format!("line {}, column {}", error.line(), error.column()))
    })
}

/// Describes a text that is neither JSON nor base64.
fn what_it_is(text: &str) -> &'static str {
    if text.starts_with("-----BEGIN") {
        "it is a private key alone"
    } else if text.starts_with(['/', '.', '~']) {
        "it looks like a path, which GOOGLE_APPLICATION_CREDENTIALS takes"
    } else if text.starts_with(['"', '\'']) {
        "it begins with a quotation mark"
    } else {
        "it does not begin with {"
    }
}

/// The key as PEM with its line breaks where they belong.
///
/// # Errors
/// What is wrong with it.
fn private_key(text: &str) -> Result<String, &'static str> {
    let Some((_, body)) = text.split_once(BEGIN) else {
        return Err(if text.contains("-----BEGIN RSA PRIVATE KEY-----") {
            "it is of the form PKCS#1 (BEGIN RSA PRIVATE KEY), not PKCS#8"
        } else if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            "it is encrypted"
        } else {
            "it has no BEGIN line"
        });
    };
    let (body, _) = body.split_once(END).ok_or("it has no END line: it is cut off")?;
    let base64 = without_breaks(body);
    let der = BASE64_STANDARD.decode(&base64).map_err(|_| "it is not base64")?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der));
    let key = rustls::crypto::ring::sign::any_supported_type(&der);
    let key = key.map_err(|_| "it is not a whole RSA key of 2048 bits or more")?;
    if key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).is_none() {
        return Err("it is not an RSA key");
    }
    let mut pem = format!("{BEGIN}\n");
    for (position, character) in base64.chars().enumerate() {
        if position > 0 && position % PEM_LINE == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    Ok(format!("{pem}\n{END}\n"))
}

/// The base64 in `body` without white space and without escaped white space (`\n`, `\r`, `\t`, with any number of
/// backslashes).
fn without_breaks(body: &str) -> String {
    let mut parts = body.split('\\');
    let first = parts.next().unwrap_or_default();
    let parts = parts.map(|part| part.strip_prefix(['n', 'r', 't']).unwrap_or(part));
    std::iter::once(first).chain(parts).flat_map(str::split_whitespace).collect()
}
