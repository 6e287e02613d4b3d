//! The way from what happens to the people and systems that want to hear of it: `notify` is invoked and reads the
//! records itself.

use async_trait::async_trait;
use gennaker_cloud::functions::{AwsFunctions, function_name};
use gennaker_cloud::{CloudError, Connection, Functions};
use serde_json::Value;

/// Invokes `notify`.
#[async_trait]
pub trait Tell: Send + Sync {
    /// Hands `notify` an occasion: `{"execution","run","when","stage"}`. Returns once it is queued; a second call with
    /// the same occasion is harmless. (`lambda:InvokeFunction` on `notify`)
    async fn tell(&self, occasion: Value) -> Result<(), CloudError>;
}

/// The calls of [`Tell`], with the IAM actions that they need.
pub mod calls {
    gennaker_cloud::calls! { "Tell":
        TELL = "tell" => ["lambda:InvokeFunction"];
    }
}

/// Invokes the function `<prefix>-notify` asynchronously.
#[derive(Clone, Debug)]
pub struct NotifyFunction {
    functions: AwsFunctions,
    name: String,
}

impl NotifyFunction {
    /// Of this installation.
    #[must_use]
    pub fn new(connection: &Connection, prefix: &str) -> Self {
        Self {
            functions: AwsFunctions::new(connection),
            name: function_name(prefix, "notify"),
        }
    }
}

#[async_trait]
impl Tell for NotifyFunction {
    async fn tell(&self, occasion: Value) -> Result<(), CloudError> {
        self.functions.invoke_later(&self.name, &occasion).await
    }
}
