//! The internet in memory: hosts that somebody else runs, secrets, and objects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use gennaker_cloud::CloudError;
use gennaker_http::{
    Aws, Http, HttpError, Limits, ObjectReference, Objects, Request, Response, Secret,
    SecretReference, Secrets, SignedCall,
};
use serde_json::Value;

use crate::Faults;

/// What a host does with a request. It keeps what state it likes.
type Handler = Box<dyn FnMut(&Request) -> Response + Send>;

#[derive(Default)]
struct State {
    hosts: BTreeMap<String, Handler>,
    received: Vec<Request>,
}

/// Hosts in memory. A host that nobody serves cannot be resolved. Clones are the same.
#[derive(Clone, Default)]
pub struct MemoryHttp {
    state: Arc<Mutex<State>>,
    faults: Faults,
}

impl std::fmt::Debug for MemoryHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryHttp")
    }
}

/// An answer of a host, for the address that was asked.
#[must_use]
pub fn response(request: &Request, status: u16, body: impl Into<Vec<u8>>) -> Response {
    Response {
        status,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.into(),
        url: request.url.clone(),
    }
}

/// Host and path of an address: `api.example.com` and `/jobs/1?x=y`.
#[must_use]
pub fn host_and_path(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    }
}

impl MemoryHttp {
    /// Nobody answers, nothing fails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nobody answers; calls count, and fail, with `faults`.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        Self {
            state: Arc::default(),
            faults,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this host (with its port, if the address has one) answers so.
    pub fn serve(&self, host: &str, handler: impl FnMut(&Request) -> Response + Send + 'static) {
        self.state()
            .hosts
            .insert(host.to_owned(), Box::new(handler));
    }

    /// What arrived, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Request> {
        self.state().received.clone()
    }
}

#[async_trait]
impl Http for MemoryHttp {
    async fn send(&self, request: &Request, limits: &Limits) -> Result<Response, HttpError> {
        let (host, _) = host_and_path(&request.url);
        let lost = |error: CloudError| match error {
            // Nothing asks a host of the internet to slow down before it is called: nobody is there.
            CloudError::Throttled { message, .. } => HttpError::NoConnection {
                host: host.to_owned(),
                reason: message,
            },
            error => HttpError::Broken {
                host: host.to_owned(),
                reason: error.to_string(),
                sent: true,
            },
        };
        let call = self.faults.before("http:Send", host).map_err(lost)?;
        let response = {
            let mut state = self.state();
            let Some(handler) = state.hosts.get_mut(host) else {
                return Err(HttpError::UnknownHost {
                    host: host.to_owned(),
                    reason: "no such host".to_owned(),
                });
            };
            let response = handler(request);
            state.received.push(request.clone());
            response
        };
        self.faults.after(call, "http:Send", host).map_err(lost)?;
        if response.body.len() > limits.response_bytes {
            return Err(HttpError::TooLarge {
                host: host.to_owned(),
                limit: limits.response_bytes,
            });
        }
        Ok(response)
    }
}

/// What a service does with a call. It keeps what state it likes.
type Service = Box<dyn FnMut(&Value) -> Result<Value, CloudError> + Send>;

/// AWS services that are called without an SDK, in memory: an operation that nobody serves is refused. Clones are the
/// same.
#[derive(Clone, Default)]
pub struct MemoryAws {
    operations: Arc<Mutex<BTreeMap<String, Service>>>,
    received: Arc<Mutex<Vec<(String, Value)>>>,
    faults: Faults,
}

impl std::fmt::Debug for MemoryAws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryAws")
    }
}

impl MemoryAws {
    /// Nothing is served; calls count, and fail, with `faults`.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        Self {
            faults,
            ..Self::default()
        }
    }

    /// From now on this operation, such as `events:PutEvents`, answers so to a call's body.
    pub fn serve(
        &self,
        operation: &str,
        service: impl FnMut(&Value) -> Result<Value, CloudError> + Send + 'static,
    ) {
        let mut operations = self
            .operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        operations.insert(operation.to_owned(), Box::new(service));
    }

    /// Operations and bodies of the calls that took effect, in order.
    #[must_use]
    pub fn received(&self) -> Vec<(String, Value)> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.clone()
    }
}

#[async_trait]
impl Aws for MemoryAws {
    async fn send(&self, call: &SignedCall<'_>, _now: i64) -> Result<Value, CloudError> {
        let number = self.faults.before(call.operation, call.resource)?;
        let answer = {
            let mut operations = self
                .operations
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let Some(service) = operations.get_mut(call.operation) else {
                return Err(CloudError::Refused {
                    operation: call.operation.to_owned(),
                    resource: call.resource.to_owned(),
                    code: "AccessDeniedException".to_owned(),
                    message: "nobody serves it".to_owned(),
                    request_id: "memory".to_owned(),
                });
            };
            service(&call.body)?
        };
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.push((call.operation.to_owned(), call.body.clone()));
        drop(received);
        self.faults.after(number, call.operation, call.resource)?;
        Ok(answer)
    }
}

/// Secrets in memory. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct MemorySecrets {
    secrets: Arc<Mutex<BTreeMap<SecretReference, Secret>>>,
    faults: Faults,
}

impl MemorySecrets {
    /// None, and nothing fails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// None; calls count, and fail, with `faults`.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        Self {
            secrets: Arc::default(),
            faults,
        }
    }

    /// The reference now has this text. False if the text is no reference.
    pub fn put(&self, reference: &str, text: &str) -> bool {
        match SecretReference::parse(reference) {
            Ok(Some(reference)) => {
                self.secrets
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(reference, Secret::new(text));
                true
            }
            _ => false,
        }
    }
}

#[async_trait]
impl Secrets for MemorySecrets {
    async fn secret(&self, reference: &SecretReference, _now: i64) -> Result<Secret, CloudError> {
        const OPERATION: &str = "ssm:GetParameter";
        let call = self.faults.before(OPERATION, "secret")?;
        let found = self
            .secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(reference)
            .cloned();
        self.faults.after(call, OPERATION, "secret")?;
        found.ok_or_else(|| CloudError::Refused {
            operation: OPERATION.to_owned(),
            resource: format!("{reference:?}"),
            code: "ParameterNotFound".to_owned(),
            message: String::new(),
            request_id: "memory".to_owned(),
        })
    }
}

/// Bucket and key.
type ObjectName = (String, String);

/// Objects in memory, each with its versions. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct MemoryObjects {
    objects: Arc<Mutex<BTreeMap<ObjectName, Vec<Vec<u8>>>>>,
    faults: Faults,
}

impl MemoryObjects {
    /// None; calls count, and fail, with `faults`.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        Self {
            objects: Arc::default(),
            faults,
        }
    }

    /// A new version of an object; its name, `1` for the first.
    pub fn put(&self, bucket: &str, key: &str, content: impl Into<Vec<u8>>) -> String {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = objects
            .entry((bucket.to_owned(), key.to_owned()))
            .or_default();
        versions.push(content.into());
        versions.len().to_string()
    }
}

#[async_trait]
impl Objects for MemoryObjects {
    async fn object(
        &self,
        wanted: &ObjectReference,
        most_bytes: usize,
        _now: i64,
    ) -> Result<Vec<u8>, CloudError> {
        const OPERATION: &str = "s3:GetObject";
        let resource = wanted.to_string();
        let call = self.faults.before(OPERATION, &resource)?;
        let name = (wanted.bucket.clone(), wanted.key.clone());
        let found = {
            let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
            let versions = objects.get(&name);
            match &wanted.version {
                None => versions.and_then(|versions| versions.last().cloned()),
                Some(version) => versions.and_then(|versions| {
                    let at = version.parse::<usize>().ok()?.checked_sub(1)?;
                    versions.get(at).cloned()
                }),
            }
        };
        self.faults.after(call, OPERATION, &resource)?;
        let found = found.ok_or_else(|| CloudError::Refused {
            operation: OPERATION.to_owned(),
            resource: resource.clone(),
            code: "NoSuchKey".to_owned(),
            message: "the key does not exist".to_owned(),
            request_id: "memory".to_owned(),
        })?;
        if found.len() > most_bytes {
            return Err(CloudError::Unreadable {
                what: resource,
                message: format!("it has more than {most_bytes} bytes"),
            });
        }
        Ok(found)
    }
}
