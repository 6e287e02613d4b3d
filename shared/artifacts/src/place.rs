//! Where the content of an artifact is.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use gennaker_http::ObjectReference;
use serde_json::Value;
use url::Url;

use crate::account::{ArtifactAccount, Kind};
use crate::{ContentError, MAX_BYTES};

/// GitHub's API answers JSON around the content unless it is asked for the content itself.
const GITHUB_RAW: &str = "application/vnd.github.v3.raw";

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the artifact.
    Here(Vec<u8>),
    /// In S3.
    Object(ObjectReference),
    /// Behind an address.
    Address {
        /// The address.
        url: Url,
        /// The kind of server, which decides how to sign in.
        kind: Kind,
        /// `Accept`, if the server has to be asked for the content itself.
        accept: Option<&'static str>,
    },
}

fn never<T>(message: impl Into<String>) -> Result<T, ContentError> {
    Err(ContentError::Never(message.into()))
}

fn text<'a>(artifact: &'a Value, name: &str) -> &'a str {
    let text = artifact.get(name).and_then(Value::as_str);
    text.unwrap_or_default().trim()
}

fn address(text: &str) -> Result<Url, ContentError> {
    match Url::parse(text) {
        Ok(url) if url.has_host() => Ok(url),
        _ => never("the artifact's reference is no address"),
    }
}

/// Whether the artifact itself carries its content.
#[must_use]
pub fn is_embedded(artifact: &Value) -> bool {
    matches!(text(artifact, "type"), "embedded/base64" | "remote/base64")
}

/// The place of an artifact's content.
///
/// # Errors
/// [`ContentError::Never`] for a type that cannot be read, or a reference that is none.
pub fn place(artifact: &Value, account: Option<&ArtifactAccount>) -> Result<Place, ContentError> {
    let (kind, reference) = (text(artifact, "type"), text(artifact, "reference"));
    let version = Some(text(artifact, "version")).filter(|version| !version.is_empty());
    match kind {
        _ if is_embedded(artifact) => embedded(reference).map(Place::Here),
        "s3/object" => {
            let mut object = ObjectReference::parse(reference)
                .map_err(|error| ContentError::Never(error.to_string()))?;
            object.version = version.map(str::to_owned);
            object.region = account.and_then(|account| account.region.clone());
            Ok(Place::Object(object))
        }
        "http/file" | "bitbucket/file" | "github/file" | "gitlab/file" => {
            let mut url = address(reference)?;
            let kind = Kind::parse(kind).unwrap_or(Kind::Http);
            let takes_ref = match kind {
                Kind::GitHub => url.path().contains("/contents/"),
                Kind::GitLab => url.path().contains("/repository/files/"),
                _ => false,
            };
            if let Some(version) = version.filter(|_| takes_ref)
                && !url.query_pairs().any(|(name, _)| name == "ref")
            {
                url.query_pairs_mut().append_pair("ref", version);
            }
            Ok(of_address(url, kind))
        }
        "git/repo" => repository(reference, text(artifact, "location"), version, account),
        other => never(format!(
            "artifacts of type `{other}` cannot be read here: embed it (`embedded/base64`), or give an `s3/object` or an `http/file`"
        )),
    }
}

fn of_address(url: Url, kind: Kind) -> Place {
    let accept = (kind == Kind::GitHub).then_some(GITHUB_RAW);
    Place::Address { url, kind, accept }
}

fn embedded(reference: &str) -> Result<Vec<u8>, ContentError> {
    if reference.len() > MAX_BYTES {
        return never(format!("the artifact has more than {MAX_BYTES} bytes"));
    }
    let text: String = reference.split_whitespace().collect();
    STANDARD
        .decode(&text)
        .or_else(|_| URL_SAFE.decode(&text))
        .or_else(|_| never("the artifact's reference is not base64"))
}

/// Host and path (`owner/name`) of a repository's address, as Git writes it.
fn host_and_name(reference: &str) -> Option<(String, String)> {
    let (host, path) = match reference.strip_prefix("git@") {
        Some(rest) => {
            let (host, path) = rest.split_once(':')?;
            (host.to_owned(), path.to_owned())
        }
        None => {
            let url = Url::parse(reference).ok()?;
            (url.host_str()?.to_owned(), url.path().to_owned())
        }
    };
    let name = path.trim_matches('/').trim_end_matches(".git");
    let parts: Vec<&str> = name.split('/').collect();
    let plain = |part: &&str| !part.is_empty() && *part != "." && *part != "..";
    (parts.len() >= 2 && parts.iter().all(plain)).then(|| (host.to_lowercase(), name.to_owned()))
}

/// The host under which repositories of a content API are cloned.
fn clones_at(address: &Url) -> Option<&str> {
    match address.host_str()? {
        "api.github.com" => Some("github.com"),
        "api.bitbucket.org" => Some("bitbucket.org"),
        host => Some(host),
    }
}

/// One file of a repository, by the content API of its host.
fn repository(
    reference: &str,
    location: &str,
    version: Option<&str>,
    account: Option<&ArtifactAccount>,
) -> Result<Place, ContentError> {
    let Some((host, name)) = host_and_name(reference) else {
        return never("the artifact's reference is no repository");
    };
    let file: Vec<&str> = location
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    if file.is_empty() || file.iter().any(|part| *part == "." || *part == "..") {
        return never("a git/repo is read a file at a time: put its path into `location`");
    }
    let public = [Kind::GitHub, Kind::GitLab, Kind::Bitbucket]
        .into_iter()
        .filter_map(|kind| Some((kind, Url::parse(kind.public_address()?).ok()?)));
    let own = account.and_then(|account| Some((account.kind, account.address.clone()?)));
    let known = own
        .into_iter()
        .chain(public)
        .find(|(_, address)| clones_at(address) == Some(host.as_str()));
    let Some((kind, mut url)) = known else {
        return never(format!(
            "`{host}` is not known: save an artifact account with its address"
        ));
    };
    let owner_and_name: Vec<&str> = name.split('/').collect();
    let cannot = || ContentError::Never("the account's address has no path".to_owned());
    let mut path = url.path_segments_mut().map_err(|()| cannot())?;
    path.pop_if_empty();
    match kind {
        Kind::GitHub => {
            path.push("repos").extend(&owner_and_name);
            path.push("contents").extend(&file);
        }
        Kind::GitLab => {
            // Names with a `/` are one segment of its paths: `%2F`.
            path.extend(["api", "v4", "projects", name.as_str()]);
            path.extend(["repository", "files", file.join("/").as_str(), "raw"]);
        }
        Kind::Bitbucket => {
            let Some(version) = version else {
                return never("a file of a Bitbucket repository needs the artifact's `version`");
            };
            path.extend(["2.0", "repositories"]).extend(&owner_and_name);
            path.extend(["src", version]).extend(&file);
        }
        Kind::Http | Kind::S3 => return never(format!("`{host}` is no host of repositories")),
    }
    drop(path);
    if kind != Kind::Bitbucket
        && let Some(version) = version
    {
        url.query_pairs_mut().append_pair("ref", version);
    }
    Ok(of_address(url, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(artifact: Value) -> Result<String, String> {
        match place(&artifact, None) {
            Ok(Place::Address { url, .. }) => Ok(url.to_string()),
            Ok(other) => Ok(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_version_becomes_the_ref_of_a_file() {
        for (kind, reference, expected) in [
            (
                "github/file",
                "https://api.github.com/repos/o/r/contents/a.json",
                "https://api.github.com/repos/o/r/contents/a.json?ref=v%2F1",
            ),
            (
                "github/file",
                "https://api.github.com/repos/o/r/contents/a.json?ref=x",
                "https://api.github.com/repos/o/r/contents/a.json?ref=x",
            ),
            (
                "github/file",
                "https://raw.githubusercontent.com/o/r/main/a.json",
                "https://raw.githubusercontent.com/o/r/main/a.json",
            ),
            (
                "gitlab/file",
                "https://gitlab.com/api/v4/projects/7/repository/files/a.json/raw",
                "https://gitlab.com/api/v4/projects/7/repository/files/a.json/raw?ref=v%2F1",
            ),
            (
                "http/file",
                "https://files.example.com/a.json?x=y",
                "https://files.example.com/a.json?x=y",
            ),
        ] {
            let artifact = json!({ "type": kind, "reference": reference, "version": "v/1" });
            assert_eq!(found(artifact).unwrap(), expected, "{kind}");
        }
    }

    #[test]
    fn a_file_of_a_repository_is_asked_of_its_hosts_content_api() {
        for (reference, expected) in [
            (
                "https://github.com/o/r.git",
                "https://api.github.com/repos/o/r/contents/d/a%20b.json?ref=main",
            ),
            (
                "git@github.com:o/r.git",
                "https://api.github.com/repos/o/r/contents/d/a%20b.json?ref=main",
            ),
            (
                "https://gitlab.com/g/s/r",
                "https://gitlab.com/api/v4/projects/g%2Fs%2Fr/repository/files/d%2Fa%20b.json/raw?ref=main",
            ),
            (
                "ssh://git@bitbucket.org/w/r.git",
                "https://api.bitbucket.org/2.0/repositories/w/r/src/main/d/a%20b.json",
            ),
        ] {
            let artifact = json!({ "type": "git/repo", "reference": reference, "version": "main", "location": "/d/a b.json" });
            assert_eq!(found(artifact).unwrap(), expected, "{reference}");
        }
        let account = json!({ "type": "github", "address": "https://git.corp.example/api/v3", "token": "ssm:/g/t" });
        let account = ArtifactAccount::parse("corp", &account).unwrap();
        let artifact = json!({ "type": "git/repo", "reference": "git@git.corp.example:o/r.git", "location": "a" });
        let Place::Address { url, .. } = place(&artifact, Some(&account)).unwrap() else {
            panic!("no address");
        };
        assert_eq!(
            url.as_str(),
            "https://git.corp.example/api/v3/repos/o/r/contents/a"
        );
    }

    #[test]
    fn what_has_no_place_is_told() {
        for (artifact, reason) in [
            (json!({}), "of type `` cannot be read"),
            (
                json!({ "type": "gcs/object" }),
                "`gcs/object` cannot be read",
            ),
            (
                json!({ "type": "embedded/base64", "reference": "%" }),
                "not base64",
            ),
            (
                json!({ "type": "embedded/base64", "reference": "A".repeat(MAX_BYTES + 4) }),
                "more than",
            ),
            (
                json!({ "type": "http/file", "reference": "a.json" }),
                "no address",
            ),
            (
                json!({ "type": "s3/object", "reference": "shop/a" }),
                "s3://BUCKET/KEY",
            ),
            (
                json!({ "type": "git/repo", "reference": "https://github.com/o/r" }),
                "`location`",
            ),
            (
                json!({ "type": "git/repo", "reference": "https://github.com/o/r", "location": "a/../b" }),
                "`location`",
            ),
            (
                json!({ "type": "git/repo", "reference": "https://github.com/o/../r/x", "location": "a" }),
                "`location`",
            ),
            (
                json!({ "type": "git/repo", "reference": "git@github.com:../r", "location": "a" }),
                "no repository",
            ),
            (
                json!({ "type": "git/repo", "reference": "https://git.corp.example/o/r", "location": "a" }),
                "is not known",
            ),
            (
                json!({ "type": "git/repo", "reference": "https://bitbucket.org/o/r", "location": "a" }),
                "`version`",
            ),
        ] {
            if let Err(error) = found(artifact.clone()) {
                assert!(error.contains(reason), "{artifact}: {error}");
            } else {
                // A client resolves `..` itself: what is left is another repository of the same host.
                assert!(
                    artifact["reference"].as_str().unwrap().contains("/../"),
                    "{artifact}"
                );
            }
        }
    }
}
