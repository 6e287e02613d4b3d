//! One lazily built connection that every client shares.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::{Builder, tls};

/// SDK configuration for every client of this process: one HTTP connector (rustls with ring), built on first use.
///
/// Endpoints, region and credentials come from the environment that the SDK itself reads (`AWS_ENDPOINT_URL…`,
/// `AWS_REGION`, …), so nothing here knows whether it talks to AWS or to an emulator.
#[derive(Clone, Debug)]
pub struct Connection {
    config: SdkConfig,
}

impl Connection {
    /// Reads the SDK's environment. Makes no call.
    pub async fn from_env() -> Self {
        let http = Builder::new()
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::Ring,
            ))
            .build_https();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(3))
                    .operation_attempt_timeout(Duration::from_secs(15))
                    .build(),
            )
            .load()
            .await;
        Self { config }
    }

    /// The configuration that SDK clients are made of.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// The same in another region, with the same connector.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        Self {
            config: self
                .config
                .to_builder()
                .region(Region::new(region.to_owned()))
                .build(),
        }
    }

    /// The same with other credentials, such as those of a role in another account.
    #[must_use]
    pub fn with_credentials(&self, provider: impl ProvideCredentials + 'static) -> Self {
        Self {
            config: self
                .config
                .to_builder()
                .credentials_provider(SharedCredentialsProvider::new(provider))
                .build(),
        }
    }
}
