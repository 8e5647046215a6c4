//! How to connect to Kafka: TLS, IAM tokens, users.

use std::str::FromStr;

use aws_credential_types::Credentials;
use function_kit::{Environment, Secret};
use rdkafka::ClientConfig;
use serde::Deserialize;

/// How to connect to Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KafkaSecurity {
    /// Neither encrypted nor authenticated.
    Plaintext,
    /// By TLS; the broker's certificate is checked against the system's authorities.
    Tls,
    /// By TLS, with an access token for MSK, signed with the function's own AWS credentials.
    MskIam {
        /// The cluster's region: the function's own.
        region: String,
        /// The function's credentials.
        credentials: Credentials,
    },
    /// By TLS, with a user's name and password (SCRAM-SHA-512).
    SaslScram(SaslUser),
    /// By TLS, with a user's name and password as they are (SASL/PLAIN).
    SaslPlain(SaslUser),
}

/// The certificate of an authority that brokers are checked against, instead of the system's authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority(String);

/// A user of Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslUser {
    /// The user's name.
    pub username: String,
    /// The user's password.
    pub password: Secret,
}

/// The values of `KAFKA_SECURITY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Plaintext,
    Tls,
    MskIam,
    SaslScram,
    SaslPlain,
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "plaintext" => Ok(Self::Plaintext),
            "tls" => Ok(Self::Tls),
            "msk_iam" => Ok(Self::MskIam),
            "sasl_scram" => Ok(Self::SaslScram),
            "sasl_plain" => Ok(Self::SaslPlain),
            _ => Err(format!("{text:?} is not one of plaintext, tls, msk_iam, sasl_scram, sasl_plain")),
        }
    }
}

impl FromStr for Authority {
    type Err = &'static str;

    /// Reads the JSON object that Lambda's event source mappings want the secret of a `SERVER_ROOT_CA_CERTIFICATE` to be.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/kafka-cluster-auth.html>
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        #[derive(Deserialize)]
        struct Certificate {
            certificate: String,
        }
        serde_json::from_str(text)
            .ok()
            .filter(|Certificate { certificate }| certificate.contains("-----BEGIN CERTIFICATE-----"))
            .map(|Certificate { certificate }| Self(certificate))
            .ok_or("the value is not a JSON object with a PEM certificate: {\"certificate\":\"-----BEGIN CERTIFICATE-----…\"}")
    }
}

impl Authority {
    /// Has librdkafka check brokers against it alone.
    pub(crate) fn configure(&self, client: &mut ClientConfig) {
        client.remove("ssl.ca.location");
        client.set("ssl.ca.pem", &self.0);
    }
}

impl FromStr for SaslUser {
    type Err = &'static str;

    /// Reads the JSON object that MSK and Lambda's event source mappings want a secret to be. The error never
    /// contains what was read.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        #[derive(Deserialize)]
        struct User {
            username: String,
            password: String,
        }
        let user: User = serde_json::from_str(text).map_err(
            |_| "the value is not a JSON object with texts as username and password: {\"username\":\"…\",\"password\":\"…\"}",
        )?;
        // librdkafka refuses them with an error that quotes them.
        let is_unusable = |text: &str| text.is_empty() || text.contains('\0');
        if is_unusable(&user.username) {
            return Err("the field username is empty or contains a zero byte");
        }
        if is_unusable(&user.password) {
            return Err("the field password is empty or contains a zero byte");
        }
        Ok(Self { username: user.username, password: user.password.into() })
    }
}

impl SaslUser {
    fn configure(&self, mechanism: &str, client: &mut ClientConfig) {
        client
            .set("sasl.mechanisms", mechanism)
            .set("sasl.username", &self.username)
            .set("sasl.password", self.password.reveal());
    }
}

impl KafkaSecurity {
    /// Reads `KAFKA_SECURITY` and what its value needs; `None`, and the problems noted, where something is
    /// missing. `tls` says whether the executable can speak it.
    pub(crate) fn read(environment: &mut Environment, tls: bool) -> Option<Self> {
        let protocol: Protocol = environment.get("KAFKA_SECURITY")?;
        if protocol != Protocol::Plaintext && !tls {
            environment.problem(
                "KAFKA_SECURITY needs an executable that was built with the feature `tls`".to_owned(),
            );
        }
        match protocol {
            Protocol::Plaintext => Some(Self::Plaintext),
            Protocol::Tls => Some(Self::Tls),
            Protocol::MskIam => {
                let region = environment.required("AWS_REGION");
                let key = environment.required::<String>("AWS_ACCESS_KEY_ID");
                let secret = environment.required::<String>("AWS_SECRET_ACCESS_KEY");
                let session = environment.get("AWS_SESSION_TOKEN");
                Some(Self::MskIam {
                    region: region?,
                    // Lambda gives a process its credentials once, for longer than the process lives.
                    credentials: Credentials::new(key?, secret?, session, None, "environment"),
                })
            }
            // The secret that KAFKA_SASL_SECRET names has been read by now.
            Protocol::SaslScram => environment.required("KAFKA_SASL").map(Self::SaslScram),
            Protocol::SaslPlain => environment.required("KAFKA_SASL").map(Self::SaslPlain),
        }
    }

    /// `text` without the password or the credentials, for what a broker or librdkafka says.
    pub(crate) fn redact(&self, text: &str) -> String {
        match self {
            Self::Plaintext | Self::Tls => text.to_owned(),
            Self::SaslScram(user) | Self::SaslPlain(user) => user.password.redact(text),
            Self::MskIam { credentials, .. } => {
                let session = credentials.session_token().unwrap_or_default();
                [credentials.secret_access_key(), session]
                    .map(|secret| Secret::from(secret.to_owned()))
                    .iter()
                    .fold(text.to_owned(), |text, secret| secret.redact(&text))
            }
        }
    }

    /// Sets what librdkafka is to know of it.
    pub(crate) fn configure(&self, client: &mut ClientConfig) {
        let protocol = match self {
            Self::Plaintext => return,
            Self::Tls => "ssl",
            Self::MskIam { .. } | Self::SaslScram(_) | Self::SaslPlain(_) => "sasl_ssl",
        };
        // OpenSSL is linked statically and has no certificates: librdkafka reads those of the system.
        client.set("security.protocol", protocol).set("ssl.ca.location", "probe");
        match self {
            Self::Plaintext | Self::Tls => {}
            Self::MskIam { .. } => {
                client.set("sasl.mechanisms", "OAUTHBEARER");
            }
            Self::SaslScram(user) => user.configure("SCRAM-SHA-512", client),
            Self::SaslPlain(user) => user.configure("PLAIN", client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWS: [(&str, &str); 3] =
        [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "marked")];

    fn read(variables: &[(&str, &str)], tls: bool) -> (Option<KafkaSecurity>, String) {
        let mut environment = crate::ABOUT.environment(variables);
        let security = KafkaSecurity::read(&mut environment, tls);
        (security, environment.problems().map(|problems| problems.to_string()).unwrap_or_default())
    }

    #[test]
    fn kafka_is_used_in_plain_text_unless_configured_otherwise() {
        let (security, problems) = read(&[], false);
        assert_eq!((security, problems.as_str()), (Some(KafkaSecurity::Plaintext), ""));
        assert_eq!(read(&[("KAFKA_SECURITY", "plaintext")], true).0, Some(KafkaSecurity::Plaintext));
    }

    #[test]
    fn without_tls_the_error_names_the_feature() {
        for value in ["tls", "msk_iam", "sasl_scram", "sasl_plain"] {
            let (_, problems) = read(&[("KAFKA_SECURITY", value)], false);
            assert!(problems.contains("KAFKA_SECURITY") && problems.contains("feature `tls`"), "{problems}");
        }
    }

    #[test]
    fn each_value_asks_for_what_it_needs() {
        for (value, names) in [
            ("ssl", ["not one of plaintext, tls, msk_iam, sasl_scram, sasl_plain"].as_slice()),
            ("msk_iam", &["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]),
            ("sasl_scram", &["KAFKA_SASL"]),
            ("sasl_plain", &["KAFKA_SASL"]),
        ] {
            let (_, problems) = read(&[("KAFKA_SECURITY", value)], true);
            for name in names {
                assert!(problems.contains(name), "{name} in {problems}");
            }
        }
    }

    #[test]
    fn librdkafka_gets_each_setting_and_its_secrets_are_never_printed() {
        let user = ("KAFKA_SASL", r#"{"username":"quotes","password":"marked"}"#);
        for (value, more, expected) in [
            ("tls", [].as_slice(), [Some("ssl"), None, None, None]),
            ("msk_iam", &AWS, [Some("sasl_ssl"), Some("OAUTHBEARER"), None, None]),
            (
                "sasl_scram",
                &[user],
                [Some("sasl_ssl"), Some("SCRAM-SHA-512"), Some("quotes"), Some("marked")],
            ),
            ("sasl_plain", &[user], [Some("sasl_ssl"), Some("PLAIN"), Some("quotes"), Some("marked")]),
        ] {
            let (security, problems) = read(&[&[("KAFKA_SECURITY", value)], more].concat(), true);
            let security = security.unwrap();
            assert!(problems.is_empty() && !format!("{security:?}").contains("marked"), "{security:?}");
            let mut client = ClientConfig::new();
            security.configure(&mut client);
            let told = ["security.protocol", "sasl.mechanisms", "sasl.username", "sasl.password"];
            assert_eq!(told.map(|name| client.get(name)), expected, "{value}");
        }
    }

    #[test]
    fn brokers_are_checked_against_a_private_authority_alone() {
        let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let authority: Authority = serde_json::json!({ "certificate": pem }).to_string().parse().unwrap();
        let mut client = ClientConfig::new();
        KafkaSecurity::Tls.configure(&mut client);
        assert_eq!((client.get("ssl.ca.location"), client.get("ssl.ca.pem")), (Some("probe"), None));
        authority.configure(&mut client);
        assert_eq!((client.get("ssl.ca.location"), client.get("ssl.ca.pem")), (None, Some(pem)));
    }

    #[test]
    fn what_is_not_a_certificate_is_refused() {
        for text in [pem_without_json(), r#"{"certificate":"MIIB"}"#, r#"{"ca":"x"}"#, ""] {
            assert!(text.parse::<Authority>().is_err(), "{text}");
        }
    }

    fn pem_without_json() -> &'static str {
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    }

    #[test]
    fn an_unusable_user_is_refused_with_its_variable_and_nothing_of_its_value() {
        for text in [
            "marked",
            r#"{"username":"quotes"}"#,
            r#"{"username":1,"password":"marked"}"#,
            "\"marked\"",
            r#"{"username":"","password":"marked"}"#,
            r#"{"username":"quotes","password":""}"#,
            r#"{"username":"quotes","password":"marked\u0000"}"#,
        ] {
            let (_, problems) = read(&[("KAFKA_SECURITY", "sasl_scram"), ("KAFKA_SASL", text)], true);
            assert!(problems.contains("KAFKA_SASL") && !problems.contains("marked"), "{text}: {problems}");
        }
    }
}
