//! Step Functions, Lambda, SNS and ECR in memory: what was started, invoked, published and pushed shows up.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use gennaker_cloud::functions::Answer;
use gennaker_cloud::notification::Message;
use gennaker_cloud::registry::Repository;
use gennaker_cloud::step_functions::{Machine, MachineRun, MachineStatus, Started, execution_arn};
use gennaker_cloud::{CloudError, Functions, Notifications, Registry, StepFunctions};
use gennaker_lambda::Function;
use serde_json::Value;

use crate::Faults;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that failed while it held the lock has its own message; the state is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(operation: &str, resource: &str, code: &str) -> CloudError {
    CloudError::Refused {
        operation: operation.to_owned(),
        resource: resource.to_owned(),
        code: code.to_owned(),
        message: "as AWS would".to_owned(),
        request_id: "memory".to_owned(),
    }
}

/// A machine in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMachine {
    /// Its definition now.
    pub definition: String,
    /// Its role.
    pub role: String,
    /// Versions that were published and not deleted: number and definition.
    pub versions: Vec<(u32, String)>,
    published: u32,
}

/// An execution in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRun {
    /// Machine or version that it was started on.
    pub machine: String,
    /// Input.
    pub input: Value,
    /// How it stands.
    pub run: MachineRun,
}

/// What was sent to a waiting Task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Success.
    Success {
        /// To whom.
        token: String,
    },
    /// An error.
    Failure {
        /// To whom.
        token: String,
        /// Its name.
        error: String,
    },
}

#[derive(Debug, Default)]
struct Machines {
    machines: BTreeMap<String, StoredMachine>,
    runs: BTreeMap<String, StoredRun>,
    sent: Vec<Sent>,
    closed_tokens: Vec<String>,
}

/// Step Functions in memory. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct MemoryStepFunctions {
    state: Arc<Mutex<Machines>>,
    faults: Faults,
}

/// Front of every ARN of a machine in memory.
const MACHINE: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:";

/// Without its version.
fn base(arn: &str) -> String {
    match arn.strip_prefix(MACHINE) {
        Some(name) => format!("{MACHINE}{}", name.split(':').next().unwrap_or(name)),
        None => arn.to_owned(),
    }
}

impl MemoryStepFunctions {
    /// Empty, never failing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty; its calls count, and fail, with `faults`.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        Self {
            state: Arc::default(),
            faults,
        }
    }

    /// A machine that somebody else made; its ARN.
    pub fn add_machine(&self, name: &str) -> String {
        let arn = format!("{MACHINE}{name}");
        locked(&self.state).machines.insert(
            arn.clone(),
            StoredMachine {
                definition: "{}".to_owned(),
                role: "role".to_owned(),
                versions: Vec::new(),
                published: 0,
            },
        );
        arn
    }

    /// All machines by ARN.
    #[must_use]
    pub fn machines(&self) -> BTreeMap<String, StoredMachine> {
        locked(&self.state).machines.clone()
    }

    /// All executions by ARN.
    #[must_use]
    pub fn runs(&self) -> BTreeMap<String, StoredRun> {
        locked(&self.state).runs.clone()
    }

    /// Names of all executions.
    #[must_use]
    pub fn run_names(&self) -> Vec<String> {
        locked(&self.state)
            .runs
            .keys()
            .filter_map(|arn| arn.rsplit(':').next().map(str::to_owned))
            .collect()
    }

    /// What was sent to Tasks, in order.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        locked(&self.state).sent.clone()
    }

    /// The execution of that name ends so.
    pub fn end(&self, name: &str, status: MachineStatus, cause: Option<&str>) {
        for (arn, run) in &mut locked(&self.state).runs {
            if arn.rsplit(':').next() == Some(name) {
                run.run = MachineRun {
                    status,
                    cause: cause.map(str::to_owned),
                };
            }
        }
    }

    /// Whoever waited with this token waits no more: sending to it is refused.
    pub fn close_token(&self, token: &str) {
        locked(&self.state).closed_tokens.push(token.to_owned());
    }

    fn send(&self, operation: &str, sent: Sent) -> Result<(), CloudError> {
        let call = self.faults.before(operation, "task token")?;
        let (Sent::Success { token } | Sent::Failure { token, .. }) = &sent;
        {
            let mut state = locked(&self.state);
            if state.closed_tokens.contains(token) {
                return Err(refused(operation, "task token", "TaskTimedOut"));
            }
            // Step Functions takes one answer.
            state.closed_tokens.push(token.clone());
            state.sent.push(sent);
        }
        self.faults.after(call, operation, "task token")
    }
}

#[async_trait]
impl StepFunctions for MemoryStepFunctions {
    async fn create_machine(
        &self,
        name: &str,
        definition: &str,
        role: &str,
    ) -> Result<String, CloudError> {
        const OPERATION: &str = "states:CreateStateMachine";
        let call = self.faults.before(OPERATION, name)?;
        let arn = format!("{MACHINE}{name}");
        {
            let mut state = locked(&self.state);
            match state.machines.get(&arn) {
                Some(known) if known.definition != definition || known.role != role => {
                    drop(state);
                    // An answer that says no can be lost too.
                    self.faults.after(call, OPERATION, name)?;
                    return Err(refused(OPERATION, name, "StateMachineAlreadyExists"));
                }
                Some(_) => {}
                None => {
                    let machine = StoredMachine {
                        definition: definition.to_owned(),
                        role: role.to_owned(),
                        versions: Vec::new(),
                        published: 0,
                    };
                    state.machines.insert(arn.clone(), machine);
                }
            }
        }
        self.faults.after(call, OPERATION, name)?;
        Ok(arn)
    }

    async fn update_machine(
        &self,
        arn: &str,
        definition: &str,
        role: &str,
    ) -> Result<(), CloudError> {
        const OPERATION: &str = "states:UpdateStateMachine";
        let call = self.faults.before(OPERATION, arn)?;
        match locked(&self.state).machines.get_mut(arn) {
            Some(machine) => {
                machine.definition = definition.to_owned();
                machine.role = role.to_owned();
            }
            None => return Err(refused(OPERATION, arn, "StateMachineDoesNotExist")),
        }
        self.faults.after(call, OPERATION, arn)
    }

    async fn machine(&self, arn: &str) -> Result<Option<Machine>, CloudError> {
        const OPERATION: &str = "states:DescribeStateMachine";
        let call = self.faults.before(OPERATION, arn)?;
        let machine = locked(&self.state)
            .machines
            .get(arn)
            .map(|machine| Machine {
                arn: arn.to_owned(),
                definition: machine.definition.clone(),
            });
        self.faults.after(call, OPERATION, arn)?;
        Ok(machine)
    }

    async fn publish_version(&self, arn: &str) -> Result<String, CloudError> {
        const OPERATION: &str = "states:PublishStateMachineVersion";
        let call = self.faults.before(OPERATION, arn)?;
        let number = {
            let mut state = locked(&self.state);
            let Some(machine) = state.machines.get_mut(arn) else {
                return Err(refused(OPERATION, arn, "StateMachineDoesNotExist"));
            };
            match machine.versions.last() {
                Some((number, definition)) if *definition == machine.definition => *number,
                _ => {
                    machine.published += 1;
                    let definition = machine.definition.clone();
                    machine.versions.push((machine.published, definition));
                    machine.published
                }
            }
        };
        self.faults.after(call, OPERATION, arn)?;
        Ok(format!("{arn}:{number}"))
    }

    async fn versions(&self, arn: &str) -> Result<Vec<String>, CloudError> {
        const OPERATION: &str = "states:ListStateMachineVersions";
        let call = self.faults.before(OPERATION, arn)?;
        let versions = locked(&self.state)
            .machines
            .get(arn)
            .map(|machine| {
                machine
                    .versions
                    .iter()
                    .rev()
                    .map(|(number, _)| format!("{arn}:{number}"))
                    .collect()
            })
            .unwrap_or_default();
        self.faults.after(call, OPERATION, arn)?;
        Ok(versions)
    }

    async fn delete_version(&self, version_arn: &str) -> Result<(), CloudError> {
        const OPERATION: &str = "states:DeleteStateMachineVersion";
        let call = self.faults.before(OPERATION, version_arn)?;
        let arn = base(version_arn);
        if let Some(machine) = locked(&self.state).machines.get_mut(&arn) {
            machine
                .versions
                .retain(|(number, _)| format!("{arn}:{number}") != version_arn);
        }
        self.faults.after(call, OPERATION, version_arn)
    }

    async fn delete_machine(&self, arn: &str) -> Result<(), CloudError> {
        const OPERATION: &str = "states:DeleteStateMachine";
        let call = self.faults.before(OPERATION, arn)?;
        locked(&self.state).machines.remove(arn);
        self.faults.after(call, OPERATION, arn)
    }

    async fn start(&self, machine: &str, name: &str, input: &Value) -> Result<Started, CloudError> {
        const OPERATION: &str = "states:StartExecution";
        let call = self.faults.before(OPERATION, machine)?;
        let started = {
            let mut state = locked(&self.state);
            let known = state.machines.get(&base(machine));
            let exists = known.is_some_and(|known| {
                base(machine) == machine
                    || known
                        .versions
                        .iter()
                        .any(|(number, _)| format!("{}:{number}", base(machine)) == machine)
            });
            let Some(arn) = execution_arn(machine, name).filter(|_| exists) else {
                return Err(refused(OPERATION, machine, "StateMachineDoesNotExist"));
            };
            match state.runs.entry(arn) {
                Entry::Occupied(_) => Started::Before,
                Entry::Vacant(free) => {
                    free.insert(StoredRun {
                        machine: machine.to_owned(),
                        input: input.clone(),
                        run: MachineRun {
                            status: MachineStatus::Running,
                            cause: None,
                        },
                    });
                    Started::New
                }
            }
        };
        self.faults.after(call, OPERATION, machine)?;
        Ok(started)
    }

    async fn describe(&self, execution_arn: &str) -> Result<Option<MachineRun>, CloudError> {
        const OPERATION: &str = "states:DescribeExecution";
        let call = self.faults.before(OPERATION, execution_arn)?;
        let run = locked(&self.state)
            .runs
            .get(execution_arn)
            .map(|run| run.run.clone());
        self.faults.after(call, OPERATION, execution_arn)?;
        Ok(run)
    }

    async fn stop(&self, execution_arn: &str, _error: &str, cause: &str) -> Result<(), CloudError> {
        const OPERATION: &str = "states:StopExecution";
        let call = self.faults.before(OPERATION, execution_arn)?;
        if let Some(run) = locked(&self.state).runs.get_mut(execution_arn)
            && run.run.status == MachineStatus::Running
        {
            run.run = MachineRun {
                status: MachineStatus::Aborted,
                cause: Some(cause.to_owned()),
            };
        }
        self.faults.after(call, OPERATION, execution_arn)
    }

    async fn succeed_task(&self, token: &str) -> Result<(), CloudError> {
        let token = token.to_owned();
        self.send("states:SendTaskSuccess", Sent::Success { token })
    }

    async fn fail_task(&self, token: &str, error: &str, _cause: &str) -> Result<(), CloudError> {
        let sent = Sent::Failure {
            token: token.to_owned(),
            error: error.to_owned(),
        };
        self.send("states:SendTaskFailure", sent)
    }
}

/// Lambda in memory: keeps what was handed over; a function that is served answers, every other one answers null. Clones
/// are the same.
#[derive(Clone, Default)]
pub struct MemoryFunctions {
    invoked: Arc<Mutex<Vec<(String, Value)>>>,
    served: Arc<Mutex<BTreeMap<String, Arc<dyn Function>>>>,
    now: Arc<AtomicI64>,
    faults: Faults,
}

impl std::fmt::Debug for MemoryFunctions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryFunctions")
            .field("invoked", &self.invoked)
            .finish_non_exhaustive()
    }
}

impl MemoryFunctions {
    /// Never failing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Its calls count, and fail, with `faults`.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        Self {
            faults,
            ..Self::default()
        }
    }

    /// Answers synchronous calls of a function, such as `g-start:live`, with the function itself. What is invoked later
    /// is only kept: see [`MemoryFunctions::deliver`].
    pub fn serve(&self, name: &str, function: Arc<dyn Function>) {
        locked(&self.served).insert(name.to_owned(), function);
    }

    /// The clock of functions that are served, UTC milliseconds.
    pub fn set_now(&self, now: i64) {
        self.now.store(now, Ordering::Relaxed);
    }

    /// Calls a served function with what it was handed to be called later, from `since` on; answers how many calls
    /// there are in all, for the next time. A call that fails is made again, as Lambda does, ten times.
    ///
    /// # Panics
    /// If it fails ten times.
    #[allow(clippy::panic)] // For tests alone.
    pub async fn deliver(&self, since: usize) -> usize {
        let invoked = self.invoked();
        for (name, payload) in invoked.iter().skip(since) {
            let served = locked(&self.served).get(name).cloned();
            let Some(function) = served else { continue };
            let mut last = None;
            let mut done = false;
            for _ in 0..10 {
                match function
                    .handle(payload.clone(), self.now.load(Ordering::Relaxed))
                    .await
                {
                    Ok(_) => {
                        done = true;
                        break;
                    }
                    Err(error) => last = Some(error),
                }
                self.faults.revive();
            }
            assert!(done, "`{name}` failed ten times: {last:?}");
        }
        invoked.len()
    }

    /// Functions and payloads, in order.
    #[must_use]
    pub fn invoked(&self) -> Vec<(String, Value)> {
        locked(&self.invoked).clone()
    }

    /// The same without repetitions: what a function that is safe to call twice makes of them.
    #[must_use]
    pub fn distinct(&self) -> Vec<(String, Value)> {
        let mut distinct: Vec<(String, Value)> = Vec::new();
        for invoked in self.invoked() {
            if !distinct.contains(&invoked) {
                distinct.push(invoked);
            }
        }
        distinct
    }
}

#[async_trait]
impl Functions for MemoryFunctions {
    async fn invoke_later(&self, function: &str, payload: &Value) -> Result<(), CloudError> {
        const OPERATION: &str = "lambda:InvokeFunction";
        let call = self.faults.before(OPERATION, function)?;
        locked(&self.invoked).push((function.to_owned(), payload.clone()));
        self.faults.after(call, OPERATION, function)
    }

    async fn invoke(&self, function: &str, payload: &Value) -> Result<Answer, CloudError> {
        const OPERATION: &str = "lambda:InvokeFunction";
        let call = self.faults.before(OPERATION, function)?;
        locked(&self.invoked).push((function.to_owned(), payload.clone()));
        let served = locked(&self.served).get(function).cloned();
        let answer = match served {
            None => Answer::Value(Value::Null),
            Some(served) => {
                let now = self.now.load(Ordering::Relaxed);
                match served.handle(payload.clone(), now).await {
                    Ok(value) => Answer::Value(value),
                    Err(error) => Answer::Error {
                        name: error.name().to_owned(),
                        message: error.to_string(),
                    },
                }
            }
        };
        self.faults.after(call, OPERATION, function)?;
        Ok(answer)
    }
}

/// SNS in memory. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct MemoryNotifications {
    published: Arc<Mutex<Vec<(String, Message)>>>,
    texts: Arc<Mutex<Vec<(String, String)>>>,
    faults: Faults,
}

impl MemoryNotifications {
    /// Never failing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Its calls count, and fail, with `faults`.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        Self {
            faults,
            ..Self::default()
        }
    }

    /// Telephone numbers and what was sent to them, in order.
    #[must_use]
    pub fn texts(&self) -> Vec<(String, String)> {
        locked(&self.texts).clone()
    }

    /// Topics and messages, in order.
    #[must_use]
    pub fn published(&self) -> Vec<(String, Message)> {
        locked(&self.published).clone()
    }
}

#[async_trait]
impl Notifications for MemoryNotifications {
    async fn publish(&self, topic_arn: &str, message: &Message) -> Result<(), CloudError> {
        const OPERATION: &str = "sns:Publish";
        let call = self.faults.before(OPERATION, topic_arn)?;
        if !topic_arn.starts_with("arn:") {
            return Err(refused(OPERATION, topic_arn, "InvalidParameter"));
        }
        locked(&self.published).push((topic_arn.to_owned(), message.clone()));
        self.faults.after(call, OPERATION, topic_arn)
    }

    async fn send_text(&self, number: &str, text: &str) -> Result<(), CloudError> {
        const OPERATION: &str = "sns:Publish";
        let call = self.faults.before(OPERATION, "number")?;
        if !number.starts_with('+') {
            return Err(refused(OPERATION, "number", "InvalidParameter"));
        }
        locked(&self.texts).push((number.to_owned(), text.to_owned()));
        self.faults.after(call, OPERATION, "number")
    }
}

/// ECR in memory. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct MemoryRegistry {
    images: Arc<Mutex<BTreeMap<(String, String), String>>>,
    faults: Faults,
}

impl MemoryRegistry {
    /// Empty, never failing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty; its calls count, and fail, with `faults`.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        Self {
            images: Arc::default(),
            faults,
        }
    }

    /// The tag of the repository now names this image.
    pub fn push(&self, repository: &str, tag: &str, digest: &str) {
        let key = (repository.to_owned(), tag.to_owned());
        locked(&self.images).insert(key, digest.to_owned());
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn digest(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> Result<Option<String>, CloudError> {
        const OPERATION: &str = "ecr:DescribeImages";
        let call = self.faults.before(OPERATION, &repository.name)?;
        let digest = locked(&self.images)
            .get(&(repository.name.clone(), tag.to_owned()))
            .cloned();
        self.faults.after(call, OPERATION, &repository.name)?;
        Ok(digest)
    }
}
