//! What an expression may ask of the outside world.

use serde_json::Value;

/// Look-ups and fetches that the host provides to the functions that leave the execution (`#fromUrl`, `#pipelineId`, …).
///
/// Every method answers with an error text for a person; the expression that asked fails with it and stays verbatim.
/// The implementer refuses private, link-local and metadata addresses, also after a redirect and after name
/// resolution, and limits size and time.
pub trait Ports: Sync {
    /// Whether [`Ports::fetch`] applies rules of its own to hosts, such as an installation's list of allowed ones. If
    /// not, verbatim addresses and names inside are refused before it is asked.
    fn checks_hosts(&self) -> bool {
        false
    }

    /// The body that `url` answers to a GET request.
    fn fetch(&self, url: &str) -> Result<String, String>;

    /// The id of the pipeline `name` of `application`, `None` if there is none.
    fn pipeline_id(&self, application: &str, name: &str) -> Result<Option<String>, String>;

    /// The attributes of `application` as a JSON object.
    fn application(&self, application: &str) -> Result<Value, String>;

    /// The id of the canary configuration `name` of `application`, `None` if there is none.
    fn canary_config_id(&self, application: &str, name: &str) -> Result<Option<String>, String>;

    /// What an artifact-store reference (`ref://…`) stands for, base64.
    fn fetch_reference(&self, reference: &str) -> Result<String, String>;
}
