//! What nobody can guess, drawn where a function starts to need it and nowhere else.

use gennaker_cloud::CloudError;

/// Draws 32 random bytes.
pub type Randomness = fn() -> Result<[u8; 32], CloudError>;

/// 32 bytes of the system's own source.
///
/// # Errors
/// If the system has none to give: tried again like a call without an answer.
pub fn randomness() -> Result<[u8; 32], CloudError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| CloudError::NoAnswer {
        operation: "getrandom".to_owned(),
        resource: "the system's random numbers".to_owned(),
        message: error.to_string(),
    })?;
    Ok(bytes)
}
