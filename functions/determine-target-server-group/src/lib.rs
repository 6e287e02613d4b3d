#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use gennaker_server_groups::config::{self, Subject};
use gennaker_server_groups::{AwsClouds, Clouds, targets};
use serde_json::{Map, Value, json};

/// Finds which server group a target means.
pub struct DetermineTargetServerGroup {
    clouds: Arc<dyn Clouds>,
}

impl DetermineTargetServerGroup {
    /// Over these clouds.
    #[must_use]
    pub fn new(clouds: Arc<dyn Clouds>) -> Self {
        Self { clouds }
    }

    /// On AWS.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        Self::new(Arc::new(AwsClouds::new(connection)))
    }
}

#[async_trait]
impl Stage for DetermineTargetServerGroup {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let context = match config::completed(invocation) {
            Ok(context) => context,
            Err(skipped) => return Ok(skipped),
        };
        let invocation = &invocation.with_context(&context);
        let subject = Subject::of(invocation.context)?;
        let found = targets::find(&*self.clouds, invocation, "determine-").await?;
        let references: Vec<Value> = found
            .iter()
            .map(|found| {
                let capacity = found.group.as_ref().map(|group| group.capacity);
                let capacity = capacity.unwrap_or_default();
                json!({
                    "region": found.place.region,
                    "cluster": subject.cluster,
                    "cloudProvider": "aws",
                    "asg": {
                        "name": found.name,
                        "autoScalingGroupName": found.name,
                        "region": found.place.region,
                        "minSize": capacity.min(),
                        "desiredCapacity": capacity.desired(),
                        "maxSize": capacity.max(),
                    },
                })
            })
            .collect();
        let mut outputs = Map::from_iter([("targetReferences".to_owned(), json!(references))]);
        if let [only] = found.as_slice() {
            outputs.insert("serverGroupName".to_owned(), json!(only.name));
            outputs.insert("asgName".to_owned(), json!(only.name));
        }
        Ok(Step::Succeeded {
            context: outputs.clone(),
            outputs,
        })
    }
}
