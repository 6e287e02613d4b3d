//! STS in memory: it knows people by their access keys and believes nobody whose signature is not theirs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use gennaker_cloud::Connection;
use gennaker_http::{
    CallerError, Callers, Request, Response, StsCallers, caller, signing::signature,
};
use serde_json::Value;

use crate::MemoryHttp;
use crate::http::response;

const HOST: &str = "sts.us-east-1.amazonaws.com";
const REGION: &str = "us-east-1";
const ACCOUNT: &str = "123456789012";

/// Made by the signature, not under it.
const MADE: [&str; 3] = ["authorization", "x-amz-date", "x-amz-security-token"];

/// Access key to what it stands for: credentials and ARN.
type People = BTreeMap<String, (Credentials, String)>;

/// STS. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct MemorySts {
    people: Arc<Mutex<People>>,
}

impl MemorySts {
    /// Answers at the address of STS in us-east-1.
    #[must_use]
    pub fn serve(http: &MemoryHttp) -> Self {
        let sts = Self::default();
        let own = sts.clone();
        http.serve(HOST, move |request| own.answer(request));
        sts
    }

    /// ARN of the person of that name.
    #[must_use]
    pub fn arn(name: &str) -> String {
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/people/{name}")
    }

    /// What functions of the installation of that prefix ask through.
    pub async fn callers(http: &MemoryHttp, prefix: &str) -> StsCallers {
        let connection = connection(Credentials::new(
            "AKIDFUNCTION",
            "own",
            None,
            None,
            "memory",
        ));
        StsCallers::new(&connection.await, Arc::new(http.clone()), prefix)
    }

    /// The event as the person of that name sends it to this function of the installation.
    ///
    /// # Panics
    /// If it cannot be signed.
    #[allow(clippy::expect_used)] // For tests alone.
    pub async fn signed(
        &self,
        name: &str,
        (prefix, function): (&str, &str),
        event: &Value,
        now: i64,
    ) -> Value {
        let credentials = self.credentials(name);
        let audience = caller::audience(prefix, function, event);
        let proof = caller::prove(&connection(credentials).await, &audience, now)
            .await
            .expect("credentials sign");
        let proof = serde_json::to_value(proof).expect("a proof is JSON");
        let mut event = event.clone();
        if let Some(fields) = event.as_object_mut() {
            fields.insert(caller::FIELD.to_owned(), proof);
        }
        event
    }

    fn credentials(&self, name: &str) -> Credentials {
        let key = format!("ASIA{}", name.to_uppercase());
        let token = Some(format!("token-of-{name}"));
        let credentials =
            Credentials::new(&key, format!("secret of {name}"), token, None, "memory");
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        people.insert(key, (credentials.clone(), Self::arn(name)));
        credentials
    }

    fn answer(&self, request: &Request) -> Response {
        let people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        match whose(&people, request) {
            Some(arn) => response(
                request,
                200,
                format!(
                    "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{arn}</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"
                ),
            ),
            None => response(
                request,
                403,
                "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>",
            ),
        }
    }
}

/// Whose signature it is, made anew from the secret.
fn whose<'a>(people: &'a People, request: &Request) -> Option<&'a str> {
    let header = |name: &str| {
        let found = request.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    };
    let authorization = header("authorization")?;
    let (_, scope) = authorization.split_once("Credential=")?;
    let (credentials, arn) = people.get(scope.split('/').next()?)?;
    if header("x-amz-security-token") != credentials.session_token() {
        return None;
    }
    let mut unsigned = request.clone();
    unsigned
        .headers
        .retain(|(name, _)| !MADE.contains(&name.as_str()));
    let at = caller::millis(header("x-amz-date")?)?;
    let made = signature(&unsigned, credentials.clone(), REGION, "sts", at)?;
    made.iter()
        .any(|(name, value)| name == "authorization" && value == authorization)
        .then_some(arn.as_str())
}

/// Whatever the environment says, it leads to this STS.
async fn connection(credentials: Credentials) -> Connection {
    Connection::from_env()
        .await
        .at(&format!("https://{HOST}"), REGION, ACCOUNT)
        .with_credentials(credentials)
}

/// Everybody is who the event's `user`, else its trigger's, says, and `anonymous` where it says nothing: for tests and
/// for recorded executions that are not about proofs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NamedCallers;

#[async_trait]
impl Callers for NamedCallers {
    async fn caller(
        &self,
        _function: &str,
        event: &Value,
        _now: i64,
    ) -> Result<Option<String>, CallerError> {
        let says = |event: Option<&Value>| Some(event?.get("user")?.as_str()?.to_owned());
        let named = says(Some(event)).or_else(|| says(event.get("trigger")));
        Ok(Some(named.unwrap_or_else(|| "anonymous".to_owned())))
    }
}
