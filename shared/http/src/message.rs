//! Requests, answers, and how much of both is allowed.

use std::time::Duration;

/// What is asked of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
}

impl Method {
    /// The method of this name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Get,
            Self::Head,
            Self::Post,
            Self::Put,
            Self::Patch,
            Self::Delete,
            Self::Options,
        ]
        .into_iter()
        .find(|method| name.trim().eq_ignore_ascii_case(method.as_str()))
    }

    /// Its name, as HTTP writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    /// Whether a second request does what one does (RFC 9110, 9.2.2).
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Patch)
    }
}

/// One request. `Debug` shows neither headers nor body nor more of the address than method and length.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Absolute address. A user name in it is not sent, as OkHttp does not.
    pub url: String,
    /// Names and values, a name as often as it has values. `host`, `content-length` and what belongs to a connection
    /// are the client's own and left out.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method.as_str())
            .field("headers", &self.headers.len())
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A GET.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::Get, url)
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// An answer. `Debug` shows neither headers nor body.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in lower case, and values; what is not text is left out.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// The address that answered in the end.
    pub url: String,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Response {
    /// First value of a header, its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// How long, how much, how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time of the whole exchange, redirects and names included.
    pub total: Duration,
    /// Time until a connection stands.
    pub connect: Duration,
    /// Bytes of an answer's body.
    pub response_bytes: usize,
    /// Redirects that are followed.
    pub redirects: u8,
}

impl Default for Limits {
    /// 20 s, 5 s to connect, 1 MiB, 5 redirects.
    fn default() -> Self {
        Self {
            total: Duration::from_secs(20),
            connect: Duration::from_secs(5),
            response_bytes: 1024 * 1024,
            redirects: 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let request = Request::new(Method::Post, "https://host/path?token=abc")
            .header("x-token", "abc")
            .body("abc");
        let response = Response {
            status: 200,
            headers: vec![("set-cookie".to_owned(), "abc".to_owned())],
            body: b"abc".to_vec(),
            url: "https://host/abc".to_owned(),
        };
        let shown = format!("{request:?} {response:?}");
        assert!(!shown.contains("abc"), "{shown}");
        assert!(shown.contains("POST") && shown.contains("200"), "{shown}");
    }

    #[test]
    fn methods_are_read_in_any_case() {
        assert_eq!(Method::parse(" put"), Some(Method::Put));
        assert_eq!(Method::parse("CONNECT"), None);
    }
}
