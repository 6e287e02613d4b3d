//! A registry of images by version 2 of Docker's API: its tags, and their digests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gennaker_cloud::store::registries::is_repository;
use gennaker_http::{Http, Limits, Method, Request, Response};
use serde_json::Value;
use url::Url;

use crate::PollError;

/// Most tags of a repository.
pub const MOST_TAGS: usize = 10_000;

/// Tags that are asked for at once.
const PAGE: usize = 1_000;

/// Kinds of manifests that are asked for the digest that the tag itself has: lists first, as Docker does.
const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// A registry that is asked, and the token that it gave.
pub struct Registry<'a> {
    http: &'a dyn Http,
    limits: Limits,
    address: Url,
    /// `user:password`, if it wants one.
    credentials: Option<String>,
    authorization: Option<String>,
}

impl<'a> Registry<'a> {
    /// The registry at this address.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(
        http: &'a dyn Http,
        limits: Limits,
        address: &str,
        credentials: Option<String>,
    ) -> Result<Self, PollError> {
        Ok(Self {
            http,
            limits,
            address: Url::parse(address).map_err(|_| PollError::Address)?,
            credentials,
            authorization: None,
        })
    }

    /// Host, with its port if it is not the scheme's: what names of images begin with.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.address.host_str().unwrap_or_default();
        match self.address.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// All tags of a repository, page by page.
    ///
    /// # Errors
    /// Any page that cannot be had: a part of the tags is not all of them.
    pub async fn tags(&mut self, repository: &str) -> Result<Vec<String>, PollError> {
        let mut page = self.place(repository, &format!("tags/list?n={PAGE}"))?;
        let mut tags: Vec<String> = Vec::new();
        loop {
            let answer = self.ask(Method::Get, &page).await?;
            let body: Value =
                serde_json::from_slice(&answer.body).map_err(|_| PollError::NoJson)?;
            let listed = body.get("tags").and_then(Value::as_array);
            let texts = listed.into_iter().flatten().filter_map(Value::as_str);
            tags.extend(texts.filter(|tag| is_tag(tag)).map(str::to_owned));
            if tags.len() > MOST_TAGS {
                return Err(PollError::TooManyTags);
            }
            let Some(next) = answer.header("link").and_then(next_page) else {
                return Ok(tags);
            };
            let next = page.join(next).map_err(|_| PollError::Address)?;
            // A page that leads elsewhere, or to itself, is none of this registry's.
            if next.origin() != self.address.origin() || next == page || listed.is_none() {
                return Err(PollError::Address);
            }
            page = next;
        }
    }

    /// Digest of a tag's manifest; none if the registry does not say it, or the tag is gone.
    ///
    /// # Errors
    /// No answer.
    pub async fn digest(
        &mut self,
        repository: &str,
        tag: &str,
    ) -> Result<Option<String>, PollError> {
        let place = self.place(repository, &format!("manifests/{tag}"))?;
        match self.ask(Method::Head, &place).await {
            Ok(answer) => Ok(answer.header("docker-content-digest").map(str::to_owned)),
            Err(PollError::Status(404)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn place(&self, repository: &str, rest: &str) -> Result<Url, PollError> {
        if !is_repository(repository) {
            return Err(PollError::Repository);
        }
        let base = self.address.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/v2/{repository}/{rest}")).map_err(|_| PollError::Address)
    }

    /// Asks, and once more with what the registry wants to see first.
    async fn ask(&mut self, method: Method, place: &Url) -> Result<Response, PollError> {
        let mut answer = self.send(method, place).await?;
        if answer.status == 401
            && let Some(challenge) = answer.header("www-authenticate")
        {
            self.authorization = Some(self.authorization_for(challenge).await?);
            answer = self.send(method, place).await?;
        }
        if answer.is_success() {
            Ok(answer)
        } else {
            Err(PollError::Status(answer.status))
        }
    }

    async fn send(&self, method: Method, place: &Url) -> Result<Response, PollError> {
        let mut request = Request::new(method, place.as_str());
        let accepted = if method == Method::Head {
            MANIFESTS.join(", ")
        } else {
            "application/json".to_owned()
        };
        request = request.header("accept", accepted);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        Ok(self.http.send(&request, &self.limits).await?)
    }

    /// What a challenge asks for: the user's password, or a token of the realm that it names.
    async fn authorization_for(&self, challenge: &str) -> Result<String, PollError> {
        let basic = self.credentials.as_ref().map(|pair| {
            let pair = STANDARD.encode(pair);
            format!("Basic {pair}")
        });
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return basic.ok_or(PollError::Status(401));
        }
        let realm = parameter(rest, "realm").and_then(|realm| Url::parse(realm).ok());
        let mut realm = realm.ok_or(PollError::Status(401))?;
        if realm.scheme() != "https" && realm.origin() != self.address.origin() {
            // A password does not leave the registry in the clear.
            return Err(PollError::Address);
        }
        for name in ["service", "scope"] {
            if let Some(value) = parameter(rest, name) {
                realm.query_pairs_mut().append_pair(name, value);
            }
        }
        let mut request = Request::get(realm.as_str()).header("accept", "application/json");
        if let Some(basic) = basic {
            request = request.header("authorization", basic);
        }
        let answer = self.http.send(&request, &self.limits).await?;
        if !answer.is_success() {
            return Err(PollError::Status(answer.status));
        }
        let body: Value = serde_json::from_slice(&answer.body).map_err(|_| PollError::NoJson)?;
        let token = body.get("token").or_else(|| body.get("access_token"));
        let token = token.and_then(Value::as_str).ok_or(PollError::NoJson)?;
        Ok(format!("Bearer {token}"))
    }
}

/// `name="value"` among the parameters of a challenge.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = parameters.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

/// `<place>; rel="next"`
fn next_page(link: &str) -> Option<&str> {
    let (place, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.replace(' ', "")
        .contains("rel=\"next\"")
        .then_some(place)
}

/// Whether a text is a tag, as Docker defines it: it becomes a part of an address.
fn is_tag(text: &str) -> bool {
    let known = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    let first = text.bytes().next();
    first.is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && text.len() <= 128
        && text.bytes().all(|c| known(c) || c == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tags_that_docker_defines_become_parts_of_an_address() {
        assert!(is_tag("v1.2-rc_1") && is_tag("_x") && is_tag(&"a".repeat(128)));
        for tag in ["", "-a", ".a", "a/b", "a b", "é", &"a".repeat(129)] {
            assert!(!is_tag(tag), "{tag}");
        }
    }

    #[test]
    fn a_link_leads_to_the_next_page_and_a_challenge_has_its_parameters() {
        assert_eq!(
            next_page("</v2/a/tags/list?last=x&n=2>; rel=\"next\""),
            Some("/v2/a/tags/list?last=x&n=2")
        );
        for other in ["", "<x", "<x>; rel=\"prev\"", "x; rel=\"next\""] {
            assert_eq!(next_page(other), None);
        }
        let challenge =
            "realm=\"https://auth.example/token\",service=\"r\",scope=\"repository:a:pull\"";
        assert_eq!(parameter(challenge, "scope"), Some("repository:a:pull"));
        assert_eq!(parameter(challenge, "error"), None);
    }
}
