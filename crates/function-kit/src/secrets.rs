//! Variables whose values are read from AWS Secrets Manager.

use aws_sdk_secretsmanager::{Client, error::SdkError};

use crate::{
    Environment, Variable,
    aws::{self, CallError},
};

/// A secret that could not be read. A function that does not start is started again for the next event, so it
/// does not matter whether the reason is temporary.
#[derive(Debug, thiserror::Error)]
#[error("{reference}: the secret {secret} could not be read")]
pub struct SecretError {
    /// The variable that names it.
    pub reference: &'static str,
    /// Its ARN or name.
    pub secret: String,
    /// The error of Secrets Manager or of the network. It contains no part of the secret.
    pub source: CallError,
}

impl Environment {
    /// Reads every secret that the environment refers to, and sets its variable to the value without surrounding white
    /// space. It is a problem if a variable and its reference are both set. AWS is called only if there is a reference.
    ///
    /// # Errors
    /// [`SecretError`] for the first secret that cannot be read or has no text value.
    pub async fn with_secrets(mut self) -> Result<Self, SecretError> {
        let mut client = None;
        for Variable { name, reference, .. } in self.table() {
            let Some(reference) = *reference else { continue };
            let Some(secret) = self.secret_of(reference) else { continue };
            if self.is_set(name) {
                self.problem(format!("{name} and {reference} are both set; set only one"));
                continue;
            }
            let client = client.get_or_insert_with(|| aws::secrets_manager(&aws::sdk_config(&mut self)));
            let value = read(client, reference, secret).await?;
            self.put(name, reference, value);
        }
        Ok(self)
    }
}

async fn read(client: &Client, reference: &'static str, secret: String) -> Result<String, SecretError> {
    let unreadable = |reason: &str| CallError { reason: reason.to_owned(), is_retryable: false };
    let source = match client.get_secret_value().secret_id(&secret).send().await {
        Ok(answer) => match answer.secret_string().map(str::trim).filter(|value| !value.is_empty()) {
            Some(value) => return Ok(value.to_owned()),
            None => unreadable("it has no text value"),
        },
        // An unreadable answer may contain the secret, so no part of it is logged.
        Err(SdkError::ResponseError(_)) => unreadable("the answer is not from Secrets Manager"),
        Err(error) => error.into(),
    };
    Err(SecretError { reference, secret, source })
}
