//! Requests that AWS takes: Signature Version 4.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use gennaker_cloud::Connection;

use crate::Request;

/// Why a request could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// Nobody gave credentials.
    #[error("there are no credentials{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Credentials(Option<String>),
    /// The request, the time or the credentials are not of a form that can be signed.
    #[error("the request cannot be signed")]
    Unsignable,
}

/// The request with the headers that sign it for a service (such as `aps`) in a region, by the connection's credentials.
///
/// `now` is UTC milliseconds; AWS refuses signatures that are five minutes old. Signing again replaces nothing: sign a
/// request once.
///
/// # Errors
/// [`SigningError`]; no message holds a part of the credentials.
pub async fn signed(
    mut request: Request,
    connection: &Connection,
    service: &str,
    region: &str,
    now: i64,
) -> Result<Request, SigningError> {
    let credentials = match connection.config().credentials_provider() {
        Some(provider) => provider
            .provide_credentials()
            .await
            .map_err(|error| SigningError::Credentials(Some(error.to_string())))?,
        None => return Err(SigningError::Credentials(None)),
    };
    let signature =
        signature(&request, credentials, region, service, now).ok_or(SigningError::Unsignable)?;
    request.headers.extend(signature);
    Ok(request)
}

/// S3 signs a key as it is written, and the digest of what is sent; every other service signs the path encoded once more.
fn settings(service: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    settings
}

/// The headers that sign a request with these credentials; none if it cannot be signed. Whoever checks a signature makes
/// the same one.
#[must_use]
pub fn signature(
    request: &Request,
    credentials: Credentials,
    region: &str,
    service: &str,
    now: i64,
) -> Option<Vec<(String, String)>> {
    let identity = credentials.into();
    let since = Duration::from_millis(u64::try_from(now).unwrap_or(0));
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(UNIX_EPOCH.checked_add(since)?)
        .settings(settings(service))
        .build()
        .ok()?
        .into();
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let signable = SignableRequest::new(
        request.method.as_str(),
        request.url.as_str(),
        headers,
        SignableBody::Bytes(&request.body),
    )
    .ok()?;
    let (instructions, _) = sign(signable, &parameters).ok()?.into_parts();
    Some(
        instructions
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;

    #[test]
    fn a_request_is_signed_for_its_service_region_and_time() {
        let request = Request::new(Method::Post, "https://ssm.us-east-1.amazonaws.com/")
            .header("content-type", "application/x-amz-json-1.1")
            .body("{}");
        let credentials = Credentials::new("AKID", "key", Some("session".to_owned()), None, "test");
        let headers =
            signature(&request, credentials, "us-east-1", "ssm", 1_800_000_000_000).unwrap();
        let value = |name: &str| {
            headers
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
                .unwrap()
        };
        assert_eq!(value("x-amz-date"), "20270115T080000Z");
        assert_eq!(value("x-amz-security-token"), "session");
        let authorization = value("authorization");
        assert!(
            authorization.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKID/20270115/us-east-1/ssm/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature="
            ),
            "{authorization}"
        );
    }

    /// The example of S3's documentation ("Signature calculations: GET object").
    #[test]
    fn a_request_to_s3_is_signed_as_its_documentation_does() {
        let request = Request::get("https://examplebucket.s3.amazonaws.com/test.txt")
            .header("Range", "bytes=0-9");
        let credentials = Credentials::new(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            None,
            None,
            "test",
        );
        let headers =
            signature(&request, credentials, "us-east-1", "s3", 1_369_353_600_000).unwrap();
        let (_, authorization) = headers
            .iter()
            .find(|(name, _)| name == "authorization")
            .unwrap();
        assert_eq!(
            authorization.replace(", ", ","),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }
}
