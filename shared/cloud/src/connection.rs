//! One lazily built connection that every client shares.

use std::sync::OnceLock;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// The roots that AWS's public endpoints chain to: Amazon Root CA 1 to 4 and Starfield Services G2. Parsing these five
/// costs a tenth of loading the system's store, which is most of a cold start.
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// SDK configuration for every client of this process: one HTTP connector (rustls with ring), built on first use.
///
/// Endpoints, region and credentials come from the environment that the SDK itself reads (`AWS_ENDPOINT_URL…`,
/// `AWS_REGION`, …), so nothing here knows whether it talks to AWS or to an emulator.
#[derive(Clone, Debug)]
pub struct Connection {
    config: SdkConfig,
}

/// Which certificate authorities are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Amazon's own: all that AWS's commercial regions need.
    Amazon,
    /// Those of the system: other partitions, private authorities.
    Native,
}

/// An HTTP client that builds its connector at the first request: neither start-up nor a call to a plain HTTP
/// endpoint pays for TLS.
#[derive(Debug)]
struct LazyHttp {
    roots: Roots,
    client: OnceLock<SharedHttpClient>,
}

impl HttpClient for LazyHttp {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.client
            .get_or_init(|| https(self.roots))
            .http_connector(settings, components)
    }
}

fn https(roots: Roots) -> SharedHttpClient {
    let store = match roots {
        Roots::Amazon => tls::TrustStore::empty()
            .with_native_roots(false)
            .with_pem_certificate(AMAZON_ROOTS),
        Roots::Native => tls::TrustStore::default(),
    };
    let builder = Builder::new().tls_provider(tls::Provider::Rustls(
        tls::rustls_provider::CryptoMode::Ring,
    ));
    match tls::TlsContext::builder().with_trust_store(store).build() {
        Ok(context) => builder.tls_context(context).build_https(),
        Err(_) => builder.build_https(),
    }
}

impl Connection {
    /// Reads the SDK's environment; trusts Amazon's roots. Makes no call.
    pub async fn from_env() -> Self {
        Self::with_roots(Roots::Amazon).await
    }

    /// Reads the SDK's environment. Makes no call.
    pub async fn with_roots(roots: Roots) -> Self {
        let http = SharedHttpClient::new(LazyHttp {
            roots,
            client: OnceLock::new(),
        });
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

    /// The same, but every service answers at `endpoint`: an emulator that this process started itself, so that no
    /// environment names it. The credentials are an account's id, as emulators read them.
    #[must_use]
    pub fn at(&self, endpoint: &str, region: &str, account: &str) -> Self {
        let credentials =
            aws_credential_types::Credentials::new(account, "local", None, None, "emulator");
        Self {
            config: self
                .config
                .to_builder()
                .endpoint_url(endpoint)
                .region(Region::new(region.to_owned()))
                .credentials_provider(SharedCredentialsProvider::new(credentials))
                .build(),
        }
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
