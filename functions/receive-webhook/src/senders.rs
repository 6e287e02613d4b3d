//! Who sent an event: which of the secrets that triggers have its signature was made with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gennaker_cloud::CloudError;
use gennaker_cloud::store::pipelines::TriggerEntry;
use gennaker_http::{Secret, SecretReference, Secrets};
use gennaker_lambda::HttpEvent;
use gennaker_triggers::delivery::voucher;
use gennaker_triggers::signature::{SignatureError, same, verify};
use gennaker_triggers::trigger::Trigger;

/// How long a secret is kept, milliseconds.
const KEPT: i64 = 300_000;

/// How old a kept secret has to be to be read anew because a signature was not made with it: it may have been replaced. A
/// sender of forged signatures does not make us read it more often.
const READ_ANEW: i64 = 30_000;

/// Secrets that are looked at for one event.
const MOST_SECRETS: usize = 50;

/// What the signature of an event came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    /// No trigger that could hear it asks for a signature.
    NotAsked,
    /// It is signed with a secret of at least one trigger; a voucher for each.
    By(Vec<String>),
    /// It is signed with no secret of those that could hear it.
    Wrong(SignatureError),
}

/// Secrets of the installation, or references to them.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// That of every git trigger without one of its own.
    pub git: Option<String>,
    /// The token of senders that sign nothing: registries, build services, stores of artifacts.
    pub token: Option<String>,
}

/// Checks signatures against the secrets of triggers.
pub struct Senders {
    secrets: Arc<dyn Secrets>,
    configured: Configured,
    kept: Mutex<HashMap<SecretReference, (Secret, i64)>>,
}

impl Senders {
    /// With secrets by reference, and those of the installation.
    pub fn new(secrets: Arc<dyn Secrets>, configured: Configured) -> Self {
        Self {
            secrets,
            configured,
            kept: Mutex::default(),
        }
    }

    /// Who signed the event, among those whose triggers could hear it. `event_id` is what vouchers are made for.
    ///
    /// # Errors
    /// A secret could not be read for a passing reason.
    pub async fn signed(
        &self,
        request: &HttpEvent,
        heard_by: &[TriggerEntry],
        event_id: &str,
        now: i64,
    ) -> Result<Signed, CloudError> {
        let mut vouchers = Vec::new();
        let mut wrong: Option<SignatureError> = None;
        let mut unsigned = false;
        for (configured, sha1) in self.configured(heard_by) {
            let Some(configured) = configured else {
                unsigned = true;
                continue;
            };
            let check =
                |secret: &str| verify(secret, &request.body, |name| request.header(name), sha1);
            let holds = |secret: &str| check(secret).is_ok();
            if self.checked(&configured, now, &holds).await? {
                vouchers.push(voucher(&configured, event_id));
            } else {
                // What is wrong with it does not depend on the secret, but for whether it fits.
                wrong = check("").err().or(Some(SignatureError::Missing));
            }
        }
        Ok(match wrong {
            _ if !vouchers.is_empty() => Signed::By(vouchers),
            Some(error) if !unsigned => Signed::Wrong(error),
            _ => Signed::NotAsked,
        })
    }

    /// Whether a sender that signs nothing knows the token of the installation, in a header (`x-gennaker-token`,
    /// `authorization: Bearer`) or, where it cannot send headers, in the query (`token`). Without a token, as in Spinnaker,
    /// anybody may send.
    ///
    /// # Errors
    /// The token could not be read for a passing reason.
    pub async fn knows_token(&self, request: &HttpEvent, now: i64) -> Result<bool, CloudError> {
        let Some(configured) = &self.configured.token else {
            return Ok(true);
        };
        let bearer = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        let given = request
            .header("x-gennaker-token")
            .or(bearer)
            .or_else(|| request.query("token"));
        let Some(given) = given else {
            return Ok(false);
        };
        let right = |secret: &str| same(secret.as_bytes(), given.as_bytes());
        self.checked(configured, now, &right).await
    }

    /// What the git triggers say of their secrets, each once, and whether SHA-1 is taken; none for those without.
    fn configured(&self, heard_by: &[TriggerEntry]) -> Vec<(Option<String>, bool)> {
        let mut found: Vec<(Option<String>, bool)> = Vec::new();
        for entry in heard_by {
            let Ok(trigger) = Trigger::read(&entry.trigger) else {
                continue;
            };
            if trigger.kind.as_deref() != Some("git") || !trigger.enabled {
                continue;
            }
            let own = trigger.text("secret").filter(|text| !text.is_empty());
            let configured = own.or(self.configured.git.as_deref()).map(str::to_owned);
            let sha1 = trigger
                .text("signatureAlgorithm")
                .is_some_and(|name| name.eq_ignore_ascii_case("sha1"));
            let one = (configured, sha1);
            if !found.contains(&one) && found.len() < MOST_SECRETS {
                found.push(one);
            }
        }
        found
    }

    /// Whether a check holds for what is configured: the secret itself, or a reference to it. One that was kept is read
    /// anew if the check fails. A secret that cannot be read is known to nobody.
    async fn checked(
        &self,
        configured: &str,
        now: i64,
        holds: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<bool, CloudError> {
        let reference = match SecretReference::parse(configured) {
            Ok(None) => return Ok(holds(configured)),
            Ok(Some(reference)) => reference,
            Err(error) => {
                tracing::warn!(reason = %error, "a secret is no reference");
                return Ok(false);
            }
        };
        let Some((secret, read_at)) = self.secret(&reference, now, KEPT).await? else {
            return Ok(false);
        };
        if holds(secret.expose()) {
            return Ok(true);
        }
        if now.saturating_sub(read_at) < READ_ANEW {
            return Ok(false);
        }
        let secret = self.secret(&reference, now, READ_ANEW).await?;
        Ok(secret.is_some_and(|(secret, _)| holds(secret.expose())))
    }

    /// A secret that is not older than `most_age`, and when it was read; none if it cannot be read at all.
    async fn secret(
        &self,
        reference: &SecretReference,
        now: i64,
        most_age: i64,
    ) -> Result<Option<(Secret, i64)>, CloudError> {
        let known = self.kept().get(reference).cloned();
        if let Some((secret, at)) = known
            && now.saturating_sub(at) < most_age
        {
            return Ok(Some((secret, at)));
        }
        match self.secrets.secret(reference, now).await {
            Ok(secret) => {
                self.kept().insert(reference.clone(), (secret.clone(), now));
                Ok(Some((secret, now)))
            }
            Err(error) if error.is_passing() => Err(error),
            Err(error) => {
                tracing::warn!(reason = %error, "a trigger's secret cannot be read");
                Ok(None)
            }
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<SecretReference, (Secret, i64)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
