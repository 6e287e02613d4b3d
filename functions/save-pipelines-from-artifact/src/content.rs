//! What an artifact holds.

use std::sync::Arc;

use gennaker_http::{Http, HttpError, Limits, Request};
use gennaker_pipelines::{MAX_BYTES, bytes};
use serde_json::Value;

/// Why the content is not known.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It never will be.
    #[error("{0}")]
    Never(String),
    /// There was no answer; the same request may get one.
    #[error("{0}")]
    NotNow(String),
}

fn text<'a>(artifact: &'a Value, name: &str) -> &'a str {
    artifact
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The bytes of an artifact: those that it carries (`embedded/base64`, `remote/base64`), or what its address answers (`http/file`,
/// and files of GitHub, GitLab and Bitbucket that everybody may read).
///
/// # Errors
/// [`ContentError`]; more than [`MAX_BYTES`] are not read.
pub async fn content(artifact: &Value, http: &Arc<dyn Http>) -> Result<Vec<u8>, ContentError> {
    let never = |message: String| ContentError::Never(message);
    let reference = text(artifact, "reference");
    match text(artifact, "type") {
        "embedded/base64" | "remote/base64" => {
            if reference.len() > MAX_BYTES {
                return Err(never(format!(
                    "the artifact has more than {MAX_BYTES} bytes"
                )));
            }
            bytes(reference)
                .ok_or_else(|| never("the artifact's reference is not base64".to_owned()))
        }
        "http/file" | "github/file" | "gitlab/file" | "bitbucket/file" => {
            fetch(text(artifact, "type"), reference, http).await
        }
        other => Err(never(format!(
            "artifacts of type `{other}` cannot be read here: embed it (`embedded/base64`) or give an `http/file`"
        ))),
    }
}

async fn fetch(kind: &str, address: &str, http: &Arc<dyn Http>) -> Result<Vec<u8>, ContentError> {
    let mut request = Request::get(address);
    if kind == "github/file" {
        // Else GitHub's API answers JSON around the content.
        request = request.header("accept", "application/vnd.github.v3.raw");
    }
    let limits = Limits {
        response_bytes: MAX_BYTES,
        ..Limits::default()
    };
    let response = http
        .send(&request, &limits)
        .await
        .map_err(|error: HttpError| {
            let message = format!("the artifact cannot be read: {error}");
            if error.is_passing() {
                ContentError::NotNow(message)
            } else {
                ContentError::Never(message)
            }
        })?;
    match response.status {
        200..=299 => Ok(response.body),
        status @ (429 | 500..=599) => Err(ContentError::NotNow(format!(
            "the artifact's server answers {status}"
        ))),
        status => Err(ContentError::Never(format!(
            "the artifact's server answers {status}"
        ))),
    }
}
