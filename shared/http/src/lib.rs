#![doc = include_str!("../README.md")]

mod aws;
pub mod caller;
pub mod client;
pub mod error;
pub mod instance_profile;
pub mod message;
pub mod object;
pub mod policy;
pub mod quotas;
pub mod scheduler;
pub mod secret;
pub mod signed_call;
pub mod signing;

use async_trait::async_trait;

pub use caller::{CallerError, Callers, Proof, StsCallers};
pub use client::{HttpClient, Resolve, SystemResolver};
pub use error::HttpError;
pub use instance_profile::AwsInstanceProfiles;
pub use message::{Limits, Method, Request, Response};
pub use object::{AwsObjects, ObjectReference, Objects};
pub use policy::AddressPolicy;
pub use quotas::AwsQuotas;
pub use scheduler::{AwsScheduler, ScheduleTarget};
pub use secret::{AwsSecrets, ReferenceError, Secret, SecretReference, Secrets};
pub use signed_call::{Aws, SignedCall, SignedCalls};
pub use signing::{SigningError, signed};

/// Sends requests to addresses that somebody else chose.
#[async_trait]
pub trait Http: Send + Sync {
    /// Sends the request and reads the whole answer, redirects followed. Any status is an answer.
    ///
    /// # Errors
    /// [`HttpError`]: the address is not allowed, there was no answer, or none within the limits.
    async fn send(&self, request: &Request, limits: &Limits) -> Result<Response, HttpError>;
}
