//! The way from a completed record to its sleeping Task: `wake` is invoked and reads the record itself.

use async_trait::async_trait;
use gennaker_cloud::{CloudError, Connection, Lazy, error::from_sdk};
use serde_json::Value;

/// Invokes `wake`.
#[async_trait]
pub trait Wake: Send + Sync {
    /// Hands `wake` what has changed: `{"run","stage"}` or `{"run","joins":[…]}`. Returns once it is queued; a second
    /// call with the same event is harmless. (`lambda:InvokeFunction` on `wake`)
    async fn wake(&self, event: Value) -> Result<(), CloudError>;
}

/// The calls of [`Wake`], with the IAM actions that they need.
pub mod calls {
    gennaker_cloud::calls! { "Wake":
        WAKE = "wake" => ["lambda:InvokeFunction"];
    }
}

/// Invokes the function `<prefix>-wake` asynchronously.
#[derive(Clone, Debug)]
pub struct WakeFunction {
    client: Lazy<aws_sdk_lambda::Client>,
    name: String,
}

impl WakeFunction {
    /// Of this installation.
    #[must_use]
    pub fn new(connection: &Connection, prefix: &str) -> Self {
        Self {
            client: connection.client(aws_sdk_lambda::Client::new),
            name: format!("{prefix}-wake:live"),
        }
    }
}

#[async_trait]
impl Wake for WakeFunction {
    async fn wake(&self, event: Value) -> Result<(), CloudError> {
        self.client
            .invoke()
            .function_name(&self.name)
            .invocation_type(aws_sdk_lambda::types::InvocationType::Event)
            .payload(aws_sdk_lambda::primitives::Blob::new(event.to_string()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| from_sdk("lambda:Invoke", &self.name, &error))
    }
}
