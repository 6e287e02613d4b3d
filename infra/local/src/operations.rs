//! What is done in a cloud that is up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Capacity, Error, FunctionArtifact, LocalCloud, Progress, Silent, World};

/// Something that seeding made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// `image`, `subnet`, `security group`, `key pair`, `target group`, `load balancer`, `server group`, `repository`, `vpc`.
    pub kind: String,
    /// Where.
    pub region: String,
    /// The name (or id) the pipeline or world file has for it.
    pub name: String,
    /// Its id or ARN in the emulated cloud.
    pub id: String,
}

/// A stack that was created or updated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// `CREATE_COMPLETE` or `UPDATE_COMPLETE`.
    pub status: String,
    /// The template's outputs.
    pub outputs: BTreeMap<String, String>,
    /// Logical id to what it became.
    pub resources: BTreeMap<String, Resource>,
}

/// One resource of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// `AWS::Lambda::Function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The physical id.
    pub id: String,
}

/// A cluster as the APIs show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedCluster {
    /// Always 123456789012.
    pub account: String,
    /// The region.
    pub region: String,
    /// `shop-prod-web`.
    pub name: String,
    /// Oldest first.
    pub server_groups: Vec<ObservedServerGroup>,
}

/// A server group as the APIs show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedServerGroup {
    /// `shop-prod-web-v012`.
    pub name: String,
    /// The image of its launch template.
    pub image: String,
    /// Bounds and wish.
    pub capacity: Capacity,
    /// False when it is out of traffic: the tag `gennaker:disabled` and no target group, or `AddToLoadBalancer`
    /// suspended, which is how Spinnaker tells.
    pub enabled: bool,
    /// Instances in service and healthy, in every target group too if it is enabled.
    pub healthy: u32,
    /// All instances, pending ones included.
    pub instances: u32,
    /// Target group name to the number of its instances that are healthy there.
    pub in_traffic: BTreeMap<String, u32>,
    /// Suspended processes.
    pub suspended: Vec<String>,
}

/// An event that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentEvent {
    /// The event's id: given by the caller, else by EventBridge.
    pub id: String,
    /// The source it was sent under.
    pub source: String,
    /// The functions that were invoked, when the event was delivered with its own id.
    #[serde(default)]
    pub invoked: Vec<String>,
}

/// What a public address answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicAnswer {
    /// Status code.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Body; what is not UTF-8 is replaced.
    pub body: String,
}

impl LocalCloud {
    /// Calls one operation of an AWS service with boto3's names: `call("autoscaling",
    /// "describe_auto_scaling_groups", …)`; the answer as boto3 gives it. For tests and for the rare call that has
    /// no method here.
    ///
    /// # Errors
    /// [`Error::Call`] with AWS's error code and message.
    pub fn call(&self, service: &str, operation: &str, parameters: Value) -> Result<Value, Error> {
        let arguments =
            json!({"service": service, "operation": operation, "parameters": parameters});
        self.operate("call", &arguments, operation, &Silent)
    }

    /// As [`Self::call`], in another region.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn call_in(
        &self,
        region: &str,
        service: &str,
        operation: &str,
        parameters: Value,
    ) -> Result<Value, Error> {
        let arguments = json!({"service": service, "operation": operation, "parameters": parameters, "region": region});
        self.operate("call", &arguments, operation, &Silent)
    }

    /// Creates what the world names and tells the world process how its images behave. Server groups are complete
    /// and have booted when this returns. What exists is left alone, so a second call creates nothing.
    ///
    /// # Errors
    /// [`Error::Call`], [`Error::File`].
    pub fn seed(&self, world: &World) -> Result<Vec<Created>, Error> {
        self.set_world(world)?;
        self.typed(
            "seed_world",
            &json!({"world": world}),
            "creating the world",
            &Silent,
        )
    }

    /// Creates the accounts' resources that a pipeline (Spinnaker's JSON) names: subnets of a purpose, security
    /// groups, target groups, load balancers, images, repositories. With `clusters`, also one enabled server group
    /// `…-v000` of the configured size in each named cluster that has none. Names that are expressions are skipped:
    /// evaluate what can be evaluated before.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn seed_for_pipeline(
        &self,
        pipeline: &Value,
        clusters: bool,
    ) -> Result<Vec<Created>, Error> {
        let arguments = json!({"pipeline": pipeline, "clusters": clusters});
        self.typed(
            "seed_pipeline",
            &arguments,
            "creating what the pipeline names",
            &Silent,
        )
    }

    /// The clusters of all regions, read back from Auto Scaling, EC2 and ELB.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn clusters(&self) -> Result<Vec<ObservedCluster>, Error> {
        self.typed("clusters", &json!({}), "reading the clusters", &Silent)
    }

    /// The ARNs of all state machines.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn state_machines(&self) -> Result<Vec<String>, Error> {
        self.typed(
            "state_machines",
            &json!({}),
            "reading the state machines",
            &Silent,
        )
    }

    /// Zips function binaries as Lambda takes them, into `directory`; a zip that is up to date is kept.
    ///
    /// # Errors
    /// [`Error::Call`] when a binary cannot be read or a zip not written.
    pub fn package(
        &self,
        functions: &[FunctionArtifact],
        directory: &Path,
        progress: &dyn Progress,
    ) -> Result<BTreeMap<String, PathBuf>, Error> {
        #[derive(Deserialize)]
        struct Zipped {
            name: String,
            zip: PathBuf,
        }
        let arguments = json!({"binaries": functions, "directory": directory});
        let zipped: Vec<Zipped> =
            self.typed("package", &arguments, "packaging the functions", progress)?;
        Ok(zipped.into_iter().map(|one| (one.name, one.zip)).collect())
    }

    /// Creates or updates a stack from a SAM template through CloudFormation. `artifacts` maps a function's name
    /// (`resize-server-group`) to its zip; it is found by the logical id `ResizeServerGroupFunction` or by the last
    /// part of its `CodeUri`. A second call with nothing changed changes nothing.
    ///
    /// # Errors
    /// [`Error::Input`] for a template that cannot be read, a function without binary, an unknown parameter;
    /// [`Error::Call`] with each failed resource and its reason.
    pub fn deploy(
        &self,
        stack: &str,
        template: &Path,
        parameters: &BTreeMap<String, String>,
        artifacts: &BTreeMap<String, PathBuf>,
        progress: &dyn Progress,
    ) -> Result<Stack, Error> {
        let arguments = json!({
            "stack": stack, "template": template, "parameters": parameters, "artifacts": artifacts,
        });
        self.typed("deploy", &arguments, "deploying the stack", progress)
    }

    /// Pushes an image to the emulated ECR and returns the event AWS would send. Another `content` under the same
    /// tag is another image with another digest.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn push_image(&self, repository: &str, tag: &str, content: &str) -> Result<Value, Error> {
        let arguments = json!({"repository": repository, "tag": tag, "content": content});
        self.operate("push_image", &arguments, "pushing the image", &Silent)
    }

    /// Sends an EventBridge event to a bus (`default`, or the name of another one).
    ///
    /// Without an `id` it goes through PutEvents, which refuses sources that begin with `aws.`: `aws.ecr` is sent as
    /// `gennaker.local.ecr`. With an `id` the rules are asked which of them match, and their functions are invoked
    /// with the event as it stands, because PutEvents would give it another id: that is how the same event comes
    /// twice.
    ///
    /// # Errors
    /// [`Error::Input`] for an event without source, detail type or detail, [`Error::Call`].
    pub fn put_event(&self, event: &Value, bus: &str) -> Result<SentEvent, Error> {
        self.typed(
            "put_event",
            &json!({"event": event, "bus": bus}),
            "sending the event",
            &Silent,
        )
    }

    /// Sends a request to a public address of the stack (its output `PublicAddress` and what is below), as the internet
    /// would. Redirects are not followed.
    ///
    /// # Errors
    /// [`Error::Call`] if there is no answer within a minute.
    pub fn request(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<PublicAnswer, Error> {
        let headers: BTreeMap<&str, &str> = headers.iter().copied().collect();
        let arguments = json!({
            "url": url, "method": method, "headers": headers, "body": STANDARD.encode(body),
        });
        let mut answer: PublicAnswer =
            self.typed("request", &arguments, "calling the public API", &Silent)?;
        let body = STANDARD.decode(&answer.body).map_err(|error| Error::Call {
            operation: "request".to_owned(),
            reason: format!("not understood: {error}"),
        })?;
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    fn typed<T: for<'a> Deserialize<'a>>(
        &self,
        operation: &str,
        arguments: &Value,
        title: &str,
        progress: &dyn Progress,
    ) -> Result<T, Error> {
        let value = self.operate(operation, arguments, title, progress)?;
        serde_json::from_value(value).map_err(|error| Error::Call {
            operation: operation.to_owned(),
            reason: format!("not understood: {error}"),
        })
    }
}
