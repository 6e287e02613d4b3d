//! The port to Lambda: calling another function of this installation.

use async_trait::async_trait;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use serde_json::Value;

use crate::error::from_sdk;
use crate::{CloudError, Connection, Lazy};

/// What a function answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It answered this.
    Value(Value),
    /// It failed.
    Error {
        /// Name of the error, such as `Waiting10s`.
        name: String,
        /// What it said.
        message: String,
    },
}

/// Functions of this installation.
#[async_trait]
pub trait Functions: Send + Sync {
    /// Hands the payload over and does not wait: Lambda keeps it, calls the function, and calls it again if it fails.
    /// (`lambda:InvokeFunction`)
    async fn invoke_later(&self, function: &str, payload: &Value) -> Result<(), CloudError>;

    /// Calls the function and waits for its answer. (`lambda:InvokeFunction`)
    async fn invoke(&self, function: &str, payload: &Value) -> Result<Answer, CloudError>;
}

/// The calls of [`Functions`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "Functions":
        INVOKE_LATER = "invoke_later" => ["lambda:InvokeFunction"];
        INVOKE = "invoke" => ["lambda:InvokeFunction"];
    }
}

/// Full name of a function with the alias that every caller uses: `gennaker-wake:live`.
#[must_use]
pub fn function_name(prefix: &str, function: &str) -> String {
    format!("{prefix}-{function}:live")
}

/// Lambda on AWS.
#[derive(Clone, Debug)]
pub struct AwsFunctions {
    client: Lazy<Client>,
}

impl AwsFunctions {
    /// A client on the connection.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: connection.client(Client::new),
        }
    }
}

#[async_trait]
impl Functions for AwsFunctions {
    async fn invoke_later(&self, function: &str, payload: &Value) -> Result<(), CloudError> {
        self.client
            .invoke()
            .function_name(function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(payload.to_string()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| from_sdk("lambda:InvokeFunction", function, &error))
    }

    async fn invoke(&self, function: &str, payload: &Value) -> Result<Answer, CloudError> {
        let answer = self
            .client
            .invoke()
            .function_name(function)
            .payload(Blob::new(payload.to_string()))
            .send()
            .await
            .map_err(|error| from_sdk("lambda:InvokeFunction", function, &error))?;
        let bytes = answer.payload.map(Blob::into_inner).unwrap_or_default();
        let value: Value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).map_err(|error| CloudError::Unreadable {
                what: format!("answer of `{function}`"),
                message: error.to_string(),
            })?
        };
        if answer.function_error.is_none() {
            return Ok(Answer::Value(value));
        }
        let text = |name: &str| {
            value
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or("unknown")
                .to_owned()
        };
        Ok(Answer::Error {
            name: text("errorType"),
            message: text("errorMessage"),
        })
    }
}
