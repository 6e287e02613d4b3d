//! The way out to the internet, as the installation allows it.

use gennaker_http::{AddressPolicy, HttpClient};

use crate::setting;

/// A client for addresses that a pipeline names: public ones and what `ALLOWED_HOSTS` adds. Makes no call.
#[must_use]
pub fn internet() -> HttpClient {
    HttpClient::new(AddressPolicy::of_setting(
        setting("ALLOWED_HOSTS").as_deref(),
    ))
}
