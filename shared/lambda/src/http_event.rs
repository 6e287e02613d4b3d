//! Requests from the internet, as an HTTP API or a function URL hands them to a function (payload format 2.0), and answers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// Bytes of a request's body at most: Lambda takes 6 MB (6,291,456 bytes) for a call that is waited for, encoding and headers
/// included, so nothing larger ever arrives on AWS.
pub const MOST_BYTES: usize = 6 * 1024 * 1024;

/// A request. `Debug` shows neither query, headers nor body: any of them may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpEvent {
    /// Method in capitals.
    pub method: String,
    /// Path as it was sent, beginning with `/`.
    pub path: String,
    /// Names and values of the query, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// Names in lower case, and values; several values of a name are one, joined by commas.
    pub headers: Vec<(String, String)>,
    /// `name=value` of each cookie.
    pub cookies: Vec<String>,
    /// Body, decoded.
    pub body: Vec<u8>,
    /// Address that the request came from.
    pub source_address: String,
}

impl std::fmt::Debug for HttpEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpEvent")
            .field("method", &self.method)
            .field("headers", &self.headers.len())
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why an event is no request that is answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpEventError {
    /// Something else called the function.
    #[error("the event is no request of payload format 2.0")]
    NoRequest,
    /// The body is too large: 413.
    #[error("the body has more than {most} bytes")]
    TooLarge {
        /// What is taken.
        most: usize,
    },
    /// The body is not what it says: 400.
    #[error("the body is not base64")]
    Encoding,
}

impl HttpEventError {
    /// The answer to whoever sent it.
    #[must_use]
    pub fn answer(&self) -> HttpAnswer {
        let status = match self {
            Self::TooLarge { .. } => 413,
            Self::NoRequest | Self::Encoding => 400,
        };
        HttpAnswer::error(status, &self.to_string())
    }
}

impl HttpEvent {
    /// Whether an event is a request: a function that is called by others too can tell.
    #[must_use]
    pub fn is_request(event: &Value) -> bool {
        event.pointer("/requestContext/http/method").is_some()
    }

    /// Reads the event. A body is decoded only if it fits into `most` bytes.
    ///
    /// # Errors
    /// [`HttpEventError`].
    pub fn read(event: &Value, most: usize) -> Result<Self, HttpEventError> {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let method = text("/requestContext/http/method").ok_or(HttpEventError::NoRequest)?;
        let headers = event
            .get("headers")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| {
                Some((name.to_ascii_lowercase(), value.as_str()?.to_owned()))
            })
            .collect();
        let cookies = event
            .get("cookies")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|cookie| cookie.as_str().map(str::to_owned))
            .collect();
        Ok(Self {
            method: method.to_ascii_uppercase(),
            path: text("/rawPath").unwrap_or("/").to_owned(),
            query: decoded_pairs(text("/rawQueryString").unwrap_or_default()),
            headers,
            cookies,
            body: body(event, most)?,
            source_address: text("/requestContext/http/sourceIp")
                .unwrap_or_default()
                .to_owned(),
        })
    }

    /// Value of a header by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// First value of a name in the query.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The fields of a posted form; none if the body is not text.
    #[must_use]
    pub fn form(&self) -> Option<Vec<(String, String)>> {
        std::str::from_utf8(&self.body).ok().map(decoded_pairs)
    }
}

fn body(event: &Value, most: usize) -> Result<Vec<u8>, HttpEventError> {
    let raw = event.get("body").and_then(Value::as_str).unwrap_or("");
    if event.get("isBase64Encoded") != Some(&Value::Bool(true)) {
        return if raw.len() > most {
            Err(HttpEventError::TooLarge { most })
        } else {
            Ok(raw.as_bytes().to_vec())
        };
    }
    // Four characters are three bytes.
    if raw.len() / 4 * 3 > most + 3 {
        return Err(HttpEventError::TooLarge { most });
    }
    let bytes = STANDARD.decode(raw).map_err(|_| HttpEventError::Encoding)?;
    if bytes.len() > most {
        return Err(HttpEventError::TooLarge { most });
    }
    Ok(bytes)
}

/// Names and values of a query or a form (`application/x-www-form-urlencoded`), in their order.
#[must_use]
pub fn decoded_pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |part: &str| {
        percent_decode_str(&part.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Cookies to set.
    pub cookies: Vec<String>,
    /// Body.
    pub body: String,
}

impl HttpAnswer {
    /// Text of a media type, that nobody keeps or takes for something else.
    pub fn new(status: u16, media_type: &str, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: vec![
                ("content-type".to_owned(), media_type.to_owned()),
                ("cache-control".to_owned(), "no-store".to_owned()),
                ("x-content-type-options".to_owned(), "nosniff".to_owned()),
            ],
            cookies: Vec::new(),
            body: body.into(),
        }
    }

    /// JSON.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// What is wrong with a request, as Spinnaker's services say it.
    #[must_use]
    pub fn error(status: u16, message: &str) -> Self {
        Self::json(status, &json!({ "status": status, "message": message }))
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// As the function answers it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let headers: Map<String, Value> = self
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        json!({
            "statusCode": self.status,
            "headers": headers,
            "cookies": self.cookies,
            "body": self.body,
            "isBase64Encoded": false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str, encoded: bool) -> Value {
        json!({
            "version": "2.0", "rawPath": "/webhooks/git/github", "rawQueryString": "a=b%20c&d+e=&f",
            "headers": {"X-Token": "t", "n": 1}, "cookies": ["one=1"],
            "requestContext": {"http": {"method": "post", "sourceIp": "192.0.2.1"}},
            "body": body, "isBase64Encoded": encoded,
        })
    }

    #[test]
    fn a_request_is_read_with_its_body_decoded() {
        let read = HttpEvent::read(&request("/wDCog==", true), 10).unwrap();
        assert_eq!(read.method, "POST");
        assert_eq!(read.path, "/webhooks/git/github");
        assert_eq!(read.header("x-token"), Some("t"));
        assert_eq!(read.query("a"), Some("b c"));
        assert_eq!(read.query("d e"), Some(""));
        assert_eq!(read.query("f"), Some(""));
        assert_eq!(read.body, [0xFF, 0, 0xC2, 0xA2]);
        assert_eq!(read.cookies, ["one=1"]);
        assert_eq!(read.source_address, "192.0.2.1");
        assert!(!format!("{read:?}").contains("one"));
    }

    #[test]
    fn a_body_that_is_too_large_is_not_decoded() {
        let too_large = Err(HttpEventError::TooLarge { most: 4 });
        assert_eq!(HttpEvent::read(&request("12345", false), 4), too_large);
        assert_eq!(
            HttpEvent::read(&request("!!!!!!!!!!!!", true), 4),
            too_large
        );
        assert_eq!(HttpEvent::read(&request("MTIzNDU=", true), 4), too_large);
        assert!(HttpEvent::read(&request("MTIzNA==", true), 4).is_ok());
        assert_eq!(
            HttpEvent::read(&request("!", true), 4),
            Err(HttpEventError::Encoding)
        );
    }

    #[test]
    fn what_is_no_request_is_told() {
        for event in [
            json!({}),
            json!(null),
            json!([]),
            json!({"requestContext": 1}),
        ] {
            assert!(!HttpEvent::is_request(&event));
            let error = HttpEvent::read(&event, 10).unwrap_err();
            assert_eq!(error.answer().status, 400);
        }
    }

    #[test]
    fn an_answer_is_one_of_payload_format_2() {
        let answer = HttpAnswer::error(413, "too large")
            .header("retry-after", "1")
            .to_json();
        assert_eq!(answer["statusCode"], 413);
        assert_eq!(answer["headers"]["retry-after"], "1");
        assert_eq!(answer["body"], r#"{"status":413,"message":"too large"}"#);
    }
}
