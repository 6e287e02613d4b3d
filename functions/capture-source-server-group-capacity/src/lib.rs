#![doc = include_str!("../README.md")]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Connection;
use gennaker_domain::deployment::source::{
    SourceSettings, WithoutSource, source_server_group, without_source,
};
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use gennaker_server_groups::config::Subject;
use gennaker_server_groups::{AwsClouds, Clouds, clouds, observe};
use serde_json::{Map, Value, json};

/// Remembers the capacity of the server group that a deploy takes over from.
pub struct CaptureSourceServerGroupCapacity {
    clouds: Arc<dyn Clouds>,
}

impl CaptureSourceServerGroupCapacity {
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
impl Stage for CaptureSourceServerGroupCapacity {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let settings = SourceSettings::from_context(invocation.context)
            .map_err(|error| StageError::invalid(error.key.clone(), error.to_string()))?;
        let subject = Subject::of(invocation.context)?;
        let [region] = subject.regions.as_slice() else {
            return Err(StageError::invalid(
                "region",
                "the capacity of one region is captured at a time",
            ));
        };
        let place = clouds::place(&*self.clouds, invocation, &subject.account, region).await?;
        let groups = observe::cluster_groups(&place, &subject.cluster).await?;
        let observed = observe::without_health(&place, &groups);
        let named = settings
            .named
            .as_ref()
            .and_then(|named| named.name.as_deref());
        let source = match named {
            Some(name) => observed.iter().find(|group| group.name == name),
            None => source_server_group(&observed, settings.use_source_capacity == Some(true))
                .map(|(group, _)| group),
        };
        if let Some(source) = source {
            let outputs = Map::from_iter([
                (
                    "sourceServerGroupCapacitySnapshot".to_owned(),
                    json!(source.capacity),
                ),
                ("sourceServerGroupName".to_owned(), json!(source.name)),
            ]);
            return Ok(Step::Succeeded {
                context: outputs.clone(),
                outputs,
            });
        }
        let seen = invocation
            .memory
            .get("sourceMissing")
            .and_then(Value::as_u64)
            .and_then(|seen| u32::try_from(seen).ok())
            .unwrap_or(0);
        match without_source(&settings, seen) {
            Ok(WithoutSource::GoOn) => Ok(Step::succeeded()),
            Ok(again @ WithoutSource::LookAgain { seen }) => Ok(Step::Waiting {
                reason: again.to_string(),
                memory: Map::from_iter([("sourceMissing".to_owned(), seen.into())]),
                poll: None,
            }),
            Err(error) => Ok(Step::failed(error.to_string())),
        }
    }
}
