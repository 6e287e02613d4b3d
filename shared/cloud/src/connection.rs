//! One lazily built connection that every client shares.

use std::ops::Deref;
use std::sync::OnceLock;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::credentials::EnvironmentVariableCredentialsProvider;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig, timeout::TimeoutConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{
    self, ProvideCredentials, SharedCredentialsProvider,
    future::ProvideCredentials as FutureCredentials,
};
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use crate::session;

/// The roots that AWS's public endpoints chain to: Amazon Root CA 1 to 4 and Starfield Services G2. Parsing these five
/// costs a tenth of loading the system's store, which is most of a cold start.
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// How often a call is made before it is given up for this invocation: twice again, after up to one and up to two
/// seconds by chance (full jitter). Whoever is throttled then is called again later by Step Functions. Not the SDK's
/// adaptive mode: it slows down all calls of a client, and one client's are of many resources.
const ATTEMPTS: u32 = 3;

/// SDK configuration for every client of this process: one HTTP connector (rustls with ring), built on first use.
///
/// Endpoints, region and credentials come from the environment that the SDK itself reads (`AWS_ENDPOINT_URL…`,
/// `AWS_REGION`, …), so nothing here knows whether it talks to AWS or to an emulator.
#[derive(Clone, Debug)]
pub struct Connection {
    config: SdkConfig,
    function: Option<String>,
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
        let chain = ProviderConfig::without_region().with_http_client(http.clone());
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        // As with the credentials: the SDK asks the environment first, but makes all of its chain before.
        if let Some(region) = EnvironmentVariableRegionProvider::new().region().await {
            loader = loader.region(region);
        }
        let config = loader
            .http_client(http)
            .credentials_provider(EnvironmentFirst::new(chain))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(3))
                    .operation_attempt_timeout(Duration::from_secs(15))
                    .build(),
            )
            .load()
            .await;
        Self {
            config,
            function: None,
        }
    }

    /// The same for a function, such as `resize-server-group`: a role that it assumes is cut to what it does.
    #[must_use]
    pub fn for_function(self, name: impl Into<String>) -> Self {
        Self {
            function: Some(name.into()),
            ..self
        }
    }

    /// The session policy under which a role of that account is assumed for work in that region; none where no
    /// function is known to be at work.
    #[must_use]
    pub(crate) fn session_policy(&self, account_id: &str, region: &str) -> Option<String> {
        session::policy(self.function.as_deref()?, account_id, region)
    }

    /// The same, but every service answers at `endpoint`: an emulator that this process started itself, so that no
    /// environment names it. The credentials are an account's id, as emulators read them.
    #[must_use]
    pub fn at(&self, endpoint: &str, region: &str, account: &str) -> Self {
        let credentials = Credentials::new(account, "local", None, None, "emulator");
        Self {
            config: self
                .config
                .to_builder()
                .endpoint_url(endpoint)
                .region(Region::new(region.to_owned()))
                .credentials_provider(SharedCredentialsProvider::new(credentials))
                .build(),
            function: self.function.clone(),
        }
    }

    /// An SDK client of this configuration, made by `new` at its first use.
    #[must_use]
    pub fn client<C>(&self, new: fn(&SdkConfig) -> C) -> Lazy<C> {
        Lazy {
            config: self.config.clone(),
            new,
            client: OnceLock::new(),
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
            function: self.function.clone(),
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
            function: self.function.clone(),
        }
    }
}

/// The SDK's default chain of credentials, made only if the environment has none.
///
/// In Lambda it has, and the chain asks it first; but to make the chain means a client for STS and one for the
/// instance's metadata: half of a cold start for what is never asked.
#[derive(Debug)]
struct EnvironmentFirst {
    chain: ProviderConfig,
    credentials: tokio::sync::OnceCell<DefaultCredentialsChain>,
}

impl EnvironmentFirst {
    fn new(chain: ProviderConfig) -> Self {
        Self {
            chain,
            credentials: tokio::sync::OnceCell::new(),
        }
    }

    async fn default_credentials(&self) -> provider::Result {
        let environment = EnvironmentVariableCredentialsProvider::new();
        // Only what is not there is looked for elsewhere: the chain stops at a setting that is wrong, too.
        match environment.provide_credentials().await {
            Err(provider::error::CredentialsError::CredentialsNotLoaded(_)) => {}
            answer => return answer,
        }
        self.credentials
            .get_or_init(|| {
                DefaultCredentialsChain::builder()
                    .configure(self.chain.clone())
                    .build()
            })
            .await
            .provide_credentials()
            .await
    }
}

impl ProvideCredentials for EnvironmentFirst {
    fn provide_credentials<'a>(&'a self) -> FutureCredentials<'a>
    where
        Self: 'a,
    {
        FutureCredentials::new(self.default_credentials())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.credentials.get()?.fallback_on_interrupt()
    }
}

/// An SDK client that is made at its first use and kept.
///
/// Making one costs half a million instructions. A function is started with every client it may ever need, and most of
/// its calls need one or two of them: what they never use costs no cold start.
#[derive(Clone, Debug)]
pub struct Lazy<C> {
    config: SdkConfig,
    new: fn(&SdkConfig) -> C,
    client: OnceLock<C>,
}

impl<C> Deref for Lazy<C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.client.get_or_init(|| (self.new)(&self.config))
    }
}
