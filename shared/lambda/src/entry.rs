//! The entry of every function's process.

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::dynamodb::DynamoDb;
use gennaker_cloud::{CloudError, Connection, Roots, Store};
use gennaker_domain::error_name;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::{Value, json};

use crate::runtime::{Call, Refusal, Runtime};
use crate::setting::{now_millis, prefix, setting, table_name};
use crate::{NotifyFunction, Resolver, Stage, internet, wake::WakeFunction};

/// What ends a function's process.
pub type Error = lambda_runtime::Error;

/// A function that is not a stage: an event in, an answer out.
#[async_trait]
pub trait Function: Send + Sync {
    /// One event. Must be safe to call twice with the same one.
    ///
    /// # Errors
    /// [`FunctionError`]: Lambda calls again where the invocation is asynchronous or polled.
    async fn handle(&self, event: Value, now: i64) -> Result<Value, FunctionError>;
}

/// Why a platform function failed.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// A call to AWS failed.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The event cannot be used; calling again will not help.
    #[error("{0}")]
    Invalid(String),
    /// Not yet: the state machine that called retries on this.
    #[error("{reason}")]
    Waiting {
        /// How soon to look again.
        poll: error_name::Poll,
        /// What it waits for.
        reason: String,
    },
}

impl FunctionError {
    /// The name that the caller sees.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cloud(error) if error.is_passing() => error_name::THROTTLED,
            Self::Cloud(_) => error_name::UNEXPECTED,
            Self::Invalid(_) => error_name::INVALID_CONFIGURATION,
            Self::Waiting { poll, .. } => poll.error_name(),
        }
    }
}

impl From<Refusal> for Diagnostic {
    fn from(refusal: Refusal) -> Self {
        Self {
            error_type: refusal.name.to_owned(),
            error_message: refusal.message,
        }
    }
}

impl From<FunctionError> for Diagnostic {
    fn from(error: FunctionError) -> Self {
        Self {
            error_type: error.name().to_owned(),
            error_message: error.to_string(),
        }
    }
}

fn log() {
    // JSON lines without a filter: `EnvFilter` compiles regular expressions at start-up. Lambda adds the time.
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .without_time()
        .with_target(false)
        .init();
}

/// `NATIVE_ROOTS=true` trusts the system's certificate authorities instead of Amazon's.
async fn connect_env() -> Connection {
    let native = setting("NATIVE_ROOTS").is_some_and(|value| value == "true");
    let roots = if native { Roots::Native } else { Roots::Amazon };
    let connection = Connection::with_roots(roots).await;
    match function() {
        Some(function) => connection.for_function(function),
        None => connection,
    }
}

/// The function that this process is, such as `resize-server-group`: Lambda's name for it without the prefix.
fn function() -> Option<String> {
    let name = setting("AWS_LAMBDA_FUNCTION_NAME")?;
    let own = name.strip_prefix(&prefix())?.strip_prefix('-')?;
    Some(own.to_owned())
}

/// Runs a stage function: builds the clients once and answers calls until Lambda ends the process.
///
/// # Errors
/// Those of the Lambda runtime's own connection.
pub async fn run_stage<S: Stage + 'static>(
    connect: impl FnOnce(&Connection) -> S,
) -> Result<(), Error> {
    log();
    let connection = connect_env().await;
    let store = Store::new(Arc::new(DynamoDb::new(&connection, table_name())));
    let wake = Arc::new(WakeFunction::new(&connection, &prefix()));
    // Makes no call and reads no certificates before an expression asks for an address.
    let resolver = Resolver::new().with_http(Arc::new(internet()));
    let runtime = Runtime::new(connect(&connection), store, wake, prefix())
        .counting_failures()
        .telling(Arc::new(NotifyFunction::new(&connection, &prefix())))
        .with_resolver(resolver);
    let runtime = Arc::new(runtime);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let runtime = Arc::clone(&runtime);
        async move {
            let call = Call {
                event: event.payload,
                request_id: event.context.request_id,
                deadline: i64::try_from(event.context.deadline).unwrap_or(i64::MAX),
                now: now_millis(),
            };
            runtime
                .handle(&call)
                .await
                .map(|()| json!({}))
                .map_err(Diagnostic::from)
        }
    }))
    .await
}

/// Runs a platform function.
///
/// # Errors
/// Those of the Lambda runtime's own connection.
pub async fn run_function<F: Function + 'static>(
    connect: impl FnOnce(&Connection) -> F,
) -> Result<(), Error> {
    log();
    let connection = connect_env().await;
    let function = Arc::new(connect(&connection));
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let function = Arc::clone(&function);
        async move {
            let answer = function.handle(event.payload, now_millis()).await;
            if let Err(error) = &answer {
                tracing::warn!(reason = %error, "the function answers with an error");
            }
            answer.map_err(Diagnostic::from)
        }
    }))
    .await
}
