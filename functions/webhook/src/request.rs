//! Requests of a webhook, with the secrets that its headers refer to.

use gennaker_cloud::CloudError;
use gennaker_http::{Method, Request, SecretReference, Secrets};
use gennaker_lambda::StageError;
use serde_json::Value;
use url::form_urlencoded;

/// A header's value that refers to a secret: the whole text, or what follows a scheme (`Bearer ssm:NAME`).
fn reference(value: &str) -> Result<Option<(&str, SecretReference)>, String> {
    let parse = |text: &str| SecretReference::parse(text).map_err(|error| error.to_string());
    if let Some(reference) = parse(value)? {
        return Ok(Some(("", reference)));
    }
    match value.trim().split_once(' ') {
        Some((scheme, rest)) if !scheme.contains(':') => {
            Ok(parse(rest)?.map(|reference| (scheme, reference)))
        }
        _ => Ok(None),
    }
}

/// Headers with their secrets, and the secrets' texts, which are hidden in what comes back.
pub async fn headers(
    secrets: &dyn Secrets,
    headers: &[(String, String)],
    now: i64,
) -> Result<(Vec<(String, String)>, Vec<String>), StageError> {
    let mut found = Vec::with_capacity(headers.len());
    let mut hidden = Vec::new();
    for (name, value) in headers {
        let invalid =
            |message: String| StageError::invalid(format!("customHeaders.{name}"), message);
        let Some((scheme, reference)) = reference(value).map_err(invalid)? else {
            found.push((name.clone(), value.clone()));
            continue;
        };
        let secret = secrets
            .secret(&reference, now)
            .await
            .map_err(|error: CloudError| error)?;
        let text = secret.expose();
        found.push((
            name.clone(),
            if scheme.is_empty() {
                text.to_owned()
            } else {
                format!("{scheme} {text}")
            },
        ));
        hidden.push(text.to_owned());
    }
    Ok((found, hidden))
}

/// The request. A text is sent as it is, a form as one where `Content-Type` says so, everything else as JSON; GET and
/// HEAD have no body.
#[must_use]
pub fn request(
    method: Method,
    url: &str,
    headers: Vec<(String, String)>,
    payload: &Value,
) -> Request {
    let mut request = Request::new(method, url);
    request.headers = headers;
    let has = |request: &Request, name: &str| {
        request
            .headers
            .iter()
            .any(|(known, _)| known.trim().eq_ignore_ascii_case(name))
    };
    if !has(&request, "accept") {
        request = request.header("Accept", "application/json, */*");
    }
    if matches!(method, Method::Get | Method::Head) || payload.is_null() {
        return request;
    }
    let is_form = request.headers.iter().any(|(name, value)| {
        name.trim().eq_ignore_ascii_case("content-type")
            && value
                .trim()
                .to_ascii_lowercase()
                .starts_with("application/x-www-form-urlencoded")
    });
    let (body, content_type) = match payload {
        Value::String(text) => (text.clone(), "text/plain;charset=UTF-8"),
        Value::Object(fields) if is_form => (form(fields), "application/x-www-form-urlencoded"),
        other => (other.to_string(), "application/json"),
    };
    if !has(&request, "content-type") {
        request = request.header("Content-Type", content_type);
    }
    request.body(body)
}

fn form(fields: &serde_json::Map<String, Value>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        let values = match value {
            Value::Array(values) => values.clone(),
            other => vec![other.clone()],
        };
        for value in values {
            let text = match value {
                Value::String(text) => text,
                Value::Null => String::new(),
                other => other.to_string(),
            };
            form.append_pair(name, &text);
        }
    }
    form.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gennaker_testkit::MemorySecrets;
    use serde_json::json;

    fn of(method: Method, headers: &[(&str, &str)], payload: Value) -> (String, Option<String>) {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let request = request(method, "https://h.example.com", headers, &payload);
        let content_type = request
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            .map(|(_, value)| value.clone());
        (String::from_utf8(request.body).unwrap(), content_type)
    }

    #[test]
    fn a_payload_is_json_a_text_or_a_form() {
        let some = |text: &str| Some(text.to_owned());
        let json_payload = json!({"a": [1]});
        assert_eq!(
            of(Method::Post, &[], json_payload.clone()),
            (r#"{"a":[1]}"#.to_owned(), some("application/json"))
        );
        assert_eq!(
            of(
                Method::Post,
                &[("content-type", "application/vnd.x+json")],
                json_payload.clone()
            ),
            (r#"{"a":[1]}"#.to_owned(), some("application/vnd.x+json"))
        );
        assert_eq!(
            of(Method::Put, &[], json!("plain")),
            ("plain".to_owned(), some("text/plain;charset=UTF-8"))
        );
        let form = "application/x-www-form-urlencoded";
        assert_eq!(
            of(
                Method::Post,
                &[("Content-Type", form)],
                json!({"a": "x y&z", "b": [1, true], "c": null})
            ),
            ("a=x+y%26z&b=1&b=true&c=".to_owned(), some(form))
        );
        assert_eq!(of(Method::Get, &[], json_payload), (String::new(), None));
        assert_eq!(of(Method::Post, &[], json!(null)), (String::new(), None));
    }

    #[tokio::test]
    async fn headers_get_their_secrets_and_nothing_else_is_touched() {
        let secrets = MemorySecrets::new();
        assert!(secrets.put("ssm:/gennaker/token", "hunter2"));
        let given = [
            ("Authorization", "Bearer ssm:/gennaker/token"),
            ("X-Token", "ssm:/gennaker/token"),
            ("X-Plain", "see ssm docs"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (found, hidden) = headers(&secrets, &given, 0).await.unwrap();
        let values: Vec<&str> = found.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["Bearer hunter2", "hunter2", "see ssm docs"]);
        assert_eq!(hidden, ["hunter2", "hunter2"]);
        let unknown = [("X".to_owned(), "ssm:/gennaker/other".to_owned())];
        let error = headers(&secrets, &unknown, 0).await.unwrap_err();
        assert!(error.to_string().contains("ParameterNotFound"), "{error}");
        let broken = [("X".to_owned(), "ssm:".to_owned())];
        let error = headers(&secrets, &broken, 0).await.unwrap_err();
        assert!(matches!(error, StageError::InvalidConfiguration { .. }));
    }
}
