//! The port to CodeBuild, and its adapter.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_codebuild::Client;
use aws_sdk_codebuild::types::{EnvironmentVariable, EnvironmentVariableType, StatusType};

use crate::error::{from_sdk, unless_gone};
use crate::{CloudError, Connection, Lazy};

/// A build as CodeBuild describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// `<project>:<uuid>`
    pub id: String,
    /// `IN_PROGRESS`, `SUCCEEDED`, `FAILED`, `FAULT`, `STOPPED` or `TIMED_OUT`.
    pub status: String,
    /// The phase that it is in; of a build that failed the one that did.
    pub phase: String,
    /// Variables that the build exported.
    pub exported: BTreeMap<String, String>,
    /// Where its log is.
    pub log: Option<String>,
}

/// The calls to CodeBuild that stages need.
#[async_trait]
pub trait CodeBuild: Send + Sync {
    /// Starts a build and answers its id. Within five minutes a second call with the same token answers the same build.
    /// (`codebuild:StartBuild`)
    async fn start_build(
        &self,
        project: &str,
        token: &str,
        variables: &BTreeMap<String, String>,
    ) -> Result<String, CloudError>;

    /// Builds of these ids, 100 at most; one that is not known is left out. (`codebuild:BatchGetBuilds`)
    async fn builds(&self, ids: &[String]) -> Result<Vec<Build>, CloudError>;

    /// Stops a build; one that has ended stays as it is. (`codebuild:StopBuild`)
    async fn stop_build(&self, id: &str) -> Result<(), CloudError>;
}

/// The calls of [`CodeBuild`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "CodeBuild":
        START_BUILD = "start_build" => ["codebuild:StartBuild"];
        BUILDS = "builds" => ["codebuild:BatchGetBuilds"];
        STOP_BUILD = "stop_build" => ["codebuild:StopBuild"];
    }
}

/// CodeBuild in one account and region.
#[derive(Clone, Debug)]
pub struct AwsCodeBuild {
    client: Lazy<Client>,
}

impl AwsCodeBuild {
    /// In the connection's account and region. Makes no call.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: connection.client(Client::new),
        }
    }
}

fn has_failed(status: &StatusType) -> bool {
    !matches!(
        status,
        StatusType::InProgress | StatusType::Succeeded | StatusType::Stopped
    )
}

#[async_trait]
impl CodeBuild for AwsCodeBuild {
    async fn start_build(
        &self,
        project: &str,
        token: &str,
        variables: &BTreeMap<String, String>,
    ) -> Result<String, CloudError> {
        const OPERATION: &str = "codebuild:StartBuild";
        let mut request = self
            .client
            .start_build()
            .project_name(project)
            .idempotency_token(token);
        for (name, value) in variables {
            let variable = EnvironmentVariable::builder()
                .name(name)
                .value(value)
                .r#type(EnvironmentVariableType::Plaintext)
                .build()
                .map_err(|error| CloudError::Unreadable {
                    what: format!("environment variable {name}"),
                    message: error.to_string(),
                })?;
            request = request.environment_variables_override(variable);
        }
        let output = request
            .send()
            .await
            .map_err(|error| from_sdk(OPERATION, project, &error))?;
        output
            .build_value()
            .and_then(|build| build.id())
            .map(str::to_owned)
            .ok_or_else(|| CloudError::Unreadable {
                what: format!("answer of {OPERATION}"),
                message: "it names no build".to_owned(),
            })
    }

    async fn builds(&self, ids: &[String]) -> Result<Vec<Build>, CloudError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let output = self
            .client
            .batch_get_builds()
            .set_ids(Some(ids.to_vec()))
            .send()
            .await
            .map_err(|error| from_sdk("codebuild:BatchGetBuilds", &ids.join(", "), &error))?;
        Ok(output
            .builds()
            .iter()
            .map(|build| Build {
                id: build.id().unwrap_or_default().to_owned(),
                status: build
                    .build_status()
                    .map_or_else(String::new, |status| status.as_str().to_owned()),
                // Its current phase is COMPLETED once it ended, whatever failed before.
                phase: build
                    .phases()
                    .iter()
                    .filter(|phase| phase.phase_status().is_some_and(has_failed))
                    .find_map(|phase| phase.phase_type())
                    .map_or_else(
                        || build.current_phase().unwrap_or_default().to_owned(),
                        |phase| phase.as_str().to_owned(),
                    ),
                exported: build
                    .exported_environment_variables()
                    .iter()
                    .filter_map(|variable| {
                        Some((variable.name()?.to_owned(), variable.value()?.to_owned()))
                    })
                    .collect(),
                log: build
                    .logs()
                    .and_then(|logs| logs.deep_link())
                    .map(str::to_owned),
            })
            .collect())
    }

    async fn stop_build(&self, id: &str) -> Result<(), CloudError> {
        let answer = self
            .client
            .stop_build()
            .id(id)
            .send()
            .await
            .map_err(|error| from_sdk("codebuild:StopBuild", id, &error));
        // It has ended, or is gone.
        let over = ["InvalidInputException", "ResourceNotFoundException"];
        unless_gone(answer, &over).map(drop)
    }
}
