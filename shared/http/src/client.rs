//! The client: one connection for one request, to an address that was checked.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::policy::literal;
use crate::{AddressPolicy, Http, HttpError, Limits, Method, Request, Response};

/// Bytes of an answer's head, and of a chunk's.
const HEAD_BYTES: usize = 64 * 1024;
/// Addresses of a name that are tried.
const ADDRESSES: usize = 4;
/// What the client says itself, or what belongs to the connection and not to the request.
const OWN_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What goes along to another origin: any other header may be a secret.
const TRAVELLING_HEADERS: [&str; 4] = ["accept", "accept-language", "content-type", "user-agent"];

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses, best first.
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0))
            .await?
            .map(|address| address.ip())
            .collect())
    }
}

/// Sends requests to addresses that the policy allows.
pub struct HttpClient {
    /// None: the addresses are not a user's, and all are called.
    policy: Option<AddressPolicy>,
    resolver: Arc<dyn Resolve>,
    roots: Option<RootCertStore>,
    // Loading the system's certificate authorities takes tens of milliseconds: done at the first `https`.
    tls: OnceLock<Option<TlsConnector>>,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// Where one hop goes.
struct Target {
    url: Url,
    host: String,
    port: u16,
    secure: bool,
}

impl HttpClient {
    /// With the system's resolver and certificate authorities. Makes no call.
    #[must_use]
    pub fn new(policy: AddressPolicy) -> Self {
        Self::with_resolver(policy, Arc::new(SystemResolver))
    }

    /// With a resolver of one's own.
    #[must_use]
    pub fn with_resolver(policy: AddressPolicy, resolver: Arc<dyn Resolve>) -> Self {
        Self {
            policy: Some(policy),
            resolver,
            roots: None,
            tls: OnceLock::new(),
        }
    }

    /// For addresses that no user wrote: AWS's own, which private endpoints and emulators have in private ranges.
    pub(crate) fn to_anywhere() -> Self {
        Self {
            policy: None,
            ..Self::new(AddressPolicy::public())
        }
    }

    /// Trusts these certificate authorities instead of the system's.
    #[must_use]
    pub fn trusting(mut self, roots: RootCertStore) -> Self {
        self.roots = Some(roots);
        self
    }

    fn target(&self, url: Url) -> Result<Target, HttpError> {
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            other => {
                return Err(HttpError::Refused {
                    host: url.host_str().unwrap_or_default().to_owned(),
                    reason: format!("the scheme is `{other}`, not http or https"),
                });
            }
        };
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => {
                return Err(HttpError::Invalid {
                    reason: "the address has no host".to_owned(),
                });
            }
        };
        if let Some(Err(reason)) = self.policy.as_ref().map(|policy| policy.judge_host(&host)) {
            return Err(HttpError::Refused { host, reason });
        }
        let port = url
            .port_or_known_default()
            .unwrap_or(if secure { 443 } else { 80 });
        Ok(Target {
            url,
            host,
            port,
            secure,
        })
    }

    /// Addresses of the host that may be called; the name is resolved here and nowhere else.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, HttpError> {
        let found = match literal(host) {
            Some(address) => vec![address],
            None => self
                .resolver
                .resolve(host)
                .await
                .map_err(|error| HttpError::UnknownHost {
                    host: host.to_owned(),
                    reason: error.to_string(),
                })?,
        };
        let mut allowed = Vec::new();
        let mut refused = None;
        for address in found {
            match self
                .policy
                .as_ref()
                .map_or(Ok(()), |policy| policy.judge_address(host, address))
            {
                Ok(()) => allowed.push(address),
                // The address is not shown: it would tell a pipeline's author about the network.
                Err(reason) => refused = Some(reason),
            }
        }
        match (allowed.is_empty(), refused) {
            (false, _) => {
                allowed.truncate(ADDRESSES);
                Ok(allowed)
            }
            (true, Some(reason)) => Err(HttpError::Refused {
                host: host.to_owned(),
                reason,
            }),
            (true, None) => Err(HttpError::UnknownHost {
                host: host.to_owned(),
                reason: "the name has no address".to_owned(),
            }),
        }
    }

    async fn connect(&self, target: &Target, limits: &Limits) -> Result<TcpStream, HttpError> {
        let mut reason = String::new();
        for address in self.addresses(&target.host).await? {
            let connecting = TcpStream::connect(SocketAddr::new(address, target.port));
            match tokio::time::timeout(limits.connect, connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => reason = error.to_string(),
                Err(_) => reason = format!("none within {} s", limits.connect.as_secs()),
            }
        }
        Err(HttpError::NoConnection {
            host: target.host.clone(),
            reason,
        })
    }

    fn tls(&self) -> Option<&TlsConnector> {
        let build = || {
            let roots = match &self.roots {
                Some(roots) => roots.clone(),
                None => {
                    let mut roots = RootCertStore::empty();
                    // What cannot be parsed is left out, as every client does: systems carry broken ones.
                    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                    roots
                }
            };
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .ok()?
                .with_root_certificates(roots)
                .with_no_client_auth();
            Some(TlsConnector::from(Arc::new(config)))
        };
        self.tls.get_or_init(build).as_ref()
    }

    /// One hop. `sent` becomes true once bytes of the request may have left.
    async fn exchange(
        &self,
        target: &Target,
        request: hyper::Request<Full<Bytes>>,
        limits: &Limits,
        sent: &AtomicBool,
        tasks: &mut JoinSet<()>,
    ) -> Result<hyper::Response<Incoming>, HttpError> {
        let stream = self.connect(target, limits).await?;
        let no_connection = |reason: String| HttpError::NoConnection {
            host: target.host.clone(),
            reason,
        };
        if !target.secure {
            return converse(TokioIo::new(stream), target, request, sent, tasks).await;
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|error| no_connection(error.to_string()))?;
        let connector = self
            .tls()
            .ok_or_else(|| no_connection("no TLS on this system".to_owned()))?;
        let stream = tokio::time::timeout(limits.connect, connector.connect(name, stream))
            .await
            .map_err(|_| no_connection(format!("no TLS within {} s", limits.connect.as_secs())))?
            .map_err(|error| no_connection(error.to_string()))?;
        converse(TokioIo::new(stream), target, request, sent, tasks).await
    }

    async fn follow(
        &self,
        request: &Request,
        limits: &Limits,
        sent: &AtomicBool,
        last_host: &OnceLock<String>,
    ) -> Result<Response, HttpError> {
        let url = Url::parse(request.url.trim()).map_err(|error| HttpError::Invalid {
            reason: error.to_string(),
        })?;
        let mut target = self.target(url)?;
        // Of the first hop: what a person who reads the message knows.
        let _ = last_host.set(target.host.clone());
        let mut hop = request.clone();
        let mut hops = 0_u8;
        loop {
            // Tasks end with the hop.
            let mut tasks = JoinSet::new();
            let wire = wire_request(&target, &hop)?;
            let response = self
                .exchange(&target, wire, limits, sent, &mut tasks)
                .await?;
            let status = response.status().as_u16();
            let location = response
                .headers()
                .get("location")
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned);
            if let Some(location) = location.filter(|_| is_redirect(status)) {
                let refused = |reason: &str| HttpError::Redirect {
                    host: target.host.clone(),
                    reason: reason.to_owned(),
                };
                if hops >= limits.redirects {
                    return Err(refused("there are too many of them"));
                }
                hops += 1;
                let url = target
                    .url
                    .join(&location)
                    .map_err(|_| refused("its address is none"))?;
                let next = self.target(url)?;
                hop = redirected(hop, status, &target, &next)
                    .ok_or_else(|| refused("the request's body would go to another origin"))?;
                target = next;
                continue;
            }
            let headers = response
                .headers()
                .iter()
                .filter_map(|(name, value)| {
                    Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
                })
                .collect();
            let body = read(response, &target, limits.response_bytes).await?;
            return Ok(Response {
                status,
                headers,
                body,
                url: target.url.to_string(),
            });
        }
    }
}

#[async_trait]
impl Http for HttpClient {
    async fn send(&self, request: &Request, limits: &Limits) -> Result<Response, HttpError> {
        let sent = AtomicBool::new(false);
        let host = OnceLock::new();
        let exchange = self.follow(request, limits, &sent, &host);
        match tokio::time::timeout(limits.total, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::TimedOut {
                host: host.into_inner().unwrap_or_default(),
                seconds: limits.total.as_secs(),
                sent: sent.load(Ordering::Relaxed),
            }),
        }
    }
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// The request of the next hop; none if its body must not go there.
fn redirected(request: Request, status: u16, from: &Target, to: &Target) -> Option<Request> {
    let mut next = request;
    if matches!(status, 301..=303) && !matches!(next.method, Method::Get | Method::Head) {
        next.method = Method::Get;
        next.body.clear();
        next.headers
            .retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
    }
    let same_origin = from.host == to.host && from.port == to.port && from.secure == to.secure;
    if !same_origin {
        if !next.body.is_empty() {
            return None;
        }
        next.headers.retain(|(name, _)| {
            TRAVELLING_HEADERS
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
        });
    }
    Some(next)
}

fn wire_request(
    target: &Target,
    request: &Request,
) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
    let invalid = |reason: String| HttpError::Invalid { reason };
    let mut path = target.url.path().to_owned();
    if let Some(query) = target.url.query() {
        path.push('?');
        path.push_str(query);
    }
    // The form of the host that belongs into a header: an IPv6 address in brackets.
    let host = target.url.host_str().unwrap_or_default();
    let host = match target.url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let mut wire = hyper::Request::builder()
        .method(request.method.as_str())
        .uri(path)
        .header("host", host)
        .body(Full::new(Bytes::from(request.body.clone())))
        .map_err(|error| invalid(error.to_string()))?;
    let headers = wire.headers_mut();
    for (name, value) in &request.headers {
        if OWN_HEADERS
            .iter()
            .any(|own| name.trim().eq_ignore_ascii_case(own))
        {
            continue;
        }
        let header = HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_| invalid("a header's name is none".to_owned()))?;
        let mut value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| invalid(format!("the value of the header `{header}` is none")))?;
        value.set_sensitive(true);
        headers.append(header, value);
    }
    if !headers.contains_key("user-agent") {
        headers.insert("user-agent", HeaderValue::from_static("gennaker"));
    }
    if !headers.contains_key("accept") {
        headers.insert("accept", HeaderValue::from_static("*/*"));
    }
    if request.body.is_empty()
        && matches!(request.method, Method::Post | Method::Put | Method::Patch)
    {
        // Servers ask for a length (411); a body of no bytes would be sent without one.
        headers.insert("content-length", HeaderValue::from_static("0"));
    }
    Ok(wire)
}

async fn converse<T>(
    io: TokioIo<T>,
    target: &Target,
    request: hyper::Request<Full<Bytes>>,
    sent: &AtomicBool,
    tasks: &mut JoinSet<()>,
) -> Result<hyper::Response<Incoming>, HttpError>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: hyper::Error, sent: bool| HttpError::Broken {
        host: target.host.clone(),
        reason: cause(&error),
        sent,
    };
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .handshake(io)
        .await
        .map_err(|error| broken(error, false))?;
    tasks.spawn(async move {
        // What breaks the connection also breaks the exchange, which tells it.
        let _ = connection.await;
    });
    sent.store(true, Ordering::Relaxed);
    sender
        .send_request(request)
        .await
        .map_err(|error| broken(error, true))
}

async fn read(
    response: hyper::Response<Incoming>,
    target: &Target,
    limit: usize,
) -> Result<Vec<u8>, HttpError> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| HttpError::Broken {
            host: target.host.clone(),
            reason: cause(&error),
            sent: true,
        })?;
        if let Some(data) = frame.data_ref() {
            if bytes.len().saturating_add(data.len()) > limit {
                return Err(HttpError::TooLarge {
                    host: target.host.clone(),
                    limit,
                });
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

/// An error with its causes: hyper's own message is one word.
fn cause(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
