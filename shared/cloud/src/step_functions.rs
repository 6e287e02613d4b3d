//! The port to Step Functions: machines, executions and task tokens.

use async_trait::async_trait;
use aws_sdk_sfn::Client;
use aws_sdk_sfn::types::{ExecutionStatus, StateMachineType};
use serde_json::Value;

use crate::error::{from_sdk, unless_gone};
use crate::{CloudError, Connection, Lazy};

/// A state machine as it now stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its ARN, without a version.
    pub arn: String,
    /// Its definition.
    pub definition: String,
}

/// Whether a call to start an execution started one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// Now.
    New,
    /// An execution of that name was started before; what it is doing now is not said.
    Before,
}

/// Status of a Step Functions execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineStatus {
    /// Running, or waiting for a redrive.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Its own time ran out.
    TimedOut,
    /// Stopped.
    Aborted,
}

impl MachineStatus {
    /// The name that Step Functions uses, such as `TIMED_OUT`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Aborted => "ABORTED",
        }
    }

    /// The status of that name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Running,
            Self::Succeeded,
            Self::Failed,
            Self::TimedOut,
            Self::Aborted,
        ]
        .into_iter()
        .find(|status| status.as_str() == name)
    }
}

/// What Step Functions says about one execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineRun {
    /// Its status.
    pub status: MachineStatus,
    /// Why it failed, if it did.
    pub cause: Option<String>,
}

/// Step Functions.
#[async_trait]
pub trait StepFunctions: Send + Sync {
    /// Creates a standard machine and answers its ARN. The same name, definition and role again answer the same ARN;
    /// another definition is refused with `StateMachineAlreadyExists`. (`states:CreateStateMachine`, `iam:PassRole`)
    async fn create_machine(
        &self,
        name: &str,
        definition: &str,
        role: &str,
    ) -> Result<String, CloudError>;

    /// Gives the machine another definition and role. (`states:UpdateStateMachine`, `iam:PassRole`)
    async fn update_machine(
        &self,
        arn: &str,
        definition: &str,
        role: &str,
    ) -> Result<(), CloudError>;

    /// The machine, if it exists. (`states:DescribeStateMachine`)
    async fn machine(&self, arn: &str) -> Result<Option<Machine>, CloudError>;

    /// Publishes the present definition and answers the version's ARN; the present one again answers the same version.
    /// (`states:PublishStateMachineVersion`)
    async fn publish_version(&self, arn: &str) -> Result<String, CloudError>;

    /// ARNs of all versions, newest first. (`states:ListStateMachineVersions`)
    async fn versions(&self, arn: &str) -> Result<Vec<String>, CloudError>;

    /// Deletes a version; one that is not there is fine. What runs on it runs on. (`states:DeleteStateMachineVersion`)
    async fn delete_version(&self, version_arn: &str) -> Result<(), CloudError>;

    /// Deletes a machine with its versions once nothing runs on it; one that is not there is fine.
    /// (`states:DeleteStateMachine`)
    async fn delete_machine(&self, arn: &str) -> Result<(), CloudError>;

    /// Starts an execution of this name, once. (`states:StartExecution`)
    async fn start(&self, machine: &str, name: &str, input: &Value) -> Result<Started, CloudError>;

    /// What Step Functions knows of an execution. (`states:DescribeExecution`: 15 a second in an account)
    async fn describe(&self, execution_arn: &str) -> Result<Option<MachineRun>, CloudError>;

    /// Stops an execution; one that is over or not there is fine. (`states:StopExecution`)
    async fn stop(&self, execution_arn: &str, error: &str, cause: &str) -> Result<(), CloudError>;

    /// Ends a waiting Task well. (`states:SendTaskSuccess`; only `wake`)
    async fn succeed_task(&self, token: &str) -> Result<(), CloudError>;

    /// Ends a waiting Task with an error. (`states:SendTaskFailure`; only `wake`)
    async fn fail_task(&self, token: &str, error: &str, cause: &str) -> Result<(), CloudError>;
}

/// The calls of [`StepFunctions`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "StepFunctions":
        CREATE_MACHINE = "create_machine" => ["states:CreateStateMachine", "iam:PassRole"];
        UPDATE_MACHINE = "update_machine" => ["states:UpdateStateMachine", "iam:PassRole"];
        MACHINE = "machine" => ["states:DescribeStateMachine"];
        PUBLISH_VERSION = "publish_version" => ["states:PublishStateMachineVersion"];
        VERSIONS = "versions" => ["states:ListStateMachineVersions"];
        DELETE_VERSION = "delete_version" => ["states:DeleteStateMachineVersion"];
        DELETE_MACHINE = "delete_machine" => ["states:DeleteStateMachine"];
        START = "start" => ["states:StartExecution"];
        DESCRIBE = "describe" => ["states:DescribeExecution"];
        STOP = "stop" => ["states:StopExecution"];
        SUCCEED_TASK = "succeed_task" => ["states:SendTaskSuccess"];
        FAIL_TASK = "fail_task" => ["states:SendTaskFailure"];
    }
}

/// ARN of the execution called `name` of a machine, or of one of its versions: an execution's ARN never has the version.
///
/// None if `machine` is no state machine's ARN.
#[must_use]
pub fn execution_arn(machine: &str, name: &str) -> Option<String> {
    let (front, machine) = machine.split_once(":stateMachine:")?;
    let machine = machine.split(':').next().filter(|name| !name.is_empty())?;
    Some(format!("{front}:execution:{machine}:{name}"))
}

/// The longest cause that Step Functions takes, in characters; the error's name may have 256.
const MAX_CAUSE: usize = 32_768;

fn clipped(text: &str) -> String {
    text.chars().take(MAX_CAUSE).collect()
}

/// Step Functions on AWS.
#[derive(Clone, Debug)]
pub struct AwsStepFunctions {
    client: Lazy<Client>,
}

impl AwsStepFunctions {
    /// A client on the connection.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: connection.client(Client::new),
        }
    }
}

#[async_trait]
impl StepFunctions for AwsStepFunctions {
    async fn create_machine(
        &self,
        name: &str,
        definition: &str,
        role: &str,
    ) -> Result<String, CloudError> {
        let answer = self
            .client
            .create_state_machine()
            .name(name)
            .definition(definition)
            .role_arn(role)
            .r#type(StateMachineType::Standard)
            .send()
            .await
            .map_err(|error| from_sdk("states:CreateStateMachine", name, &error))?;
        Ok(answer.state_machine_arn)
    }

    async fn update_machine(
        &self,
        arn: &str,
        definition: &str,
        role: &str,
    ) -> Result<(), CloudError> {
        self.client
            .update_state_machine()
            .state_machine_arn(arn)
            .definition(definition)
            .role_arn(role)
            .send()
            .await
            .map(|_| ())
            .map_err(|error| from_sdk("states:UpdateStateMachine", arn, &error))
    }

    async fn machine(&self, arn: &str) -> Result<Option<Machine>, CloudError> {
        let answer = self
            .client
            .describe_state_machine()
            .state_machine_arn(arn)
            .send()
            .await
            .map_err(|error| from_sdk("states:DescribeStateMachine", arn, &error));
        let machine = unless_gone(answer, &["StateMachineDoesNotExist"])?;
        Ok(machine.map(|machine| Machine {
            arn: machine.state_machine_arn,
            definition: machine.definition,
        }))
    }

    async fn publish_version(&self, arn: &str) -> Result<String, CloudError> {
        let answer = self
            .client
            .publish_state_machine_version()
            .state_machine_arn(arn)
            .send()
            .await
            .map_err(|error| from_sdk("states:PublishStateMachineVersion", arn, &error))?;
        Ok(answer.state_machine_version_arn)
    }

    async fn versions(&self, arn: &str) -> Result<Vec<String>, CloudError> {
        let mut versions = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page = self
                .client
                .list_state_machine_versions()
                .state_machine_arn(arn)
                .set_next_token(token.take())
                .send()
                .await
                .map_err(|error| from_sdk("states:ListStateMachineVersions", arn, &error))?;
            versions.extend(
                page.state_machine_versions
                    .into_iter()
                    .map(|version| version.state_machine_version_arn),
            );
            token = page.next_token;
            if token.is_none() {
                return Ok(versions);
            }
        }
    }

    async fn delete_version(&self, version_arn: &str) -> Result<(), CloudError> {
        self.client
            .delete_state_machine_version()
            .state_machine_version_arn(version_arn)
            .send()
            .await
            .map(|_| ())
            .map_err(|error| from_sdk("states:DeleteStateMachineVersion", version_arn, &error))
    }

    async fn delete_machine(&self, arn: &str) -> Result<(), CloudError> {
        self.client
            .delete_state_machine()
            .state_machine_arn(arn)
            .send()
            .await
            .map(|_| ())
            .map_err(|error| from_sdk("states:DeleteStateMachine", arn, &error))
    }

    async fn start(&self, machine: &str, name: &str, input: &Value) -> Result<Started, CloudError> {
        let answer = self
            .client
            .start_execution()
            .state_machine_arn(machine)
            .name(name)
            .input(input.to_string())
            .send()
            .await
            .map_err(|error| from_sdk("states:StartExecution", machine, &error));
        match answer {
            Ok(_) => Ok(Started::New),
            Err(error) if error.is_code("ExecutionAlreadyExists") => Ok(Started::Before),
            Err(error) => Err(error),
        }
    }

    async fn describe(&self, execution_arn: &str) -> Result<Option<MachineRun>, CloudError> {
        let answer = self
            .client
            .describe_execution()
            .execution_arn(execution_arn)
            .send()
            .await
            .map_err(|error| from_sdk("states:DescribeExecution", execution_arn, &error));
        let Some(execution) = unless_gone(answer, &["ExecutionDoesNotExist"])? else {
            return Ok(None);
        };
        let status = match execution.status {
            ExecutionStatus::Succeeded => MachineStatus::Succeeded,
            ExecutionStatus::Failed => MachineStatus::Failed,
            ExecutionStatus::TimedOut => MachineStatus::TimedOut,
            ExecutionStatus::Aborted => MachineStatus::Aborted,
            _ => MachineStatus::Running,
        };
        Ok(Some(MachineRun {
            status,
            cause: execution.cause,
        }))
    }

    async fn stop(&self, execution_arn: &str, error: &str, cause: &str) -> Result<(), CloudError> {
        let answer = self
            .client
            .stop_execution()
            .execution_arn(execution_arn)
            .error(error)
            .cause(clipped(cause))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| from_sdk("states:StopExecution", execution_arn, &error));
        unless_gone(answer, &["ExecutionDoesNotExist"]).map(drop)
    }

    async fn succeed_task(&self, token: &str) -> Result<(), CloudError> {
        // The token is a secret: it is in no error and in no log.
        self.client
            .send_task_success()
            .task_token(token)
            .output("{}")
            .send()
            .await
            .map(|_| ())
            .map_err(|error| from_sdk("states:SendTaskSuccess", "task token", &error))
    }

    async fn fail_task(&self, token: &str, error: &str, cause: &str) -> Result<(), CloudError> {
        self.client
            .send_task_failure()
            .task_token(token)
            .error(error)
            .cause(clipped(cause))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| from_sdk("states:SendTaskFailure", "task token", &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executions_arn_has_no_version() {
        let machine = "arn:aws:states:eu-west-1:123456789012:stateMachine:g-pipeline-7";
        let expected = "arn:aws:states:eu-west-1:123456789012:execution:g-pipeline-7:run-1";
        assert_eq!(execution_arn(machine, "run-1").as_deref(), Some(expected));
        assert_eq!(
            execution_arn(&format!("{machine}:12"), "run-1").as_deref(),
            Some(expected)
        );
        assert_eq!(execution_arn("nonsense", "run-1"), None);
    }
}
