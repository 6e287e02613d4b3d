//! Keys of the one table.

use gennaker_domain::ExecutionId;

/// Partition and sort key of an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// `PK`
    pub partition: String,
    /// `SK`
    pub sort: String,
}

impl Key {
    /// A key of these two parts.
    pub fn new(partition: impl Into<String>, sort: impl Into<String>) -> Self {
        Self {
            partition: partition.into(),
            sort: sort.into(),
        }
    }

    /// The application's record.
    #[must_use]
    pub fn application(name: &str) -> Self {
        Self::new(format!("APP#{name}"), "META")
    }

    /// The account's record.
    #[must_use]
    pub fn account(name: &str) -> Self {
        Self::new(format!("ACCOUNT#{name}"), "META")
    }

    /// The account's entry in the list of all accounts: no account has the empty name, so its partition is the list.
    #[must_use]
    pub(crate) fn account_entry(name: &str) -> Self {
        Self::new(Self::ACCOUNTS, name)
    }

    /// Partition of the list of all accounts.
    pub(crate) const ACCOUNTS: &'static str = "ACCOUNT#";

    /// The deployment monitor's record.
    #[must_use]
    pub fn monitor(id: &str) -> Self {
        Self::new(format!("MONITOR#{id}"), "META")
    }

    /// The monitor's entry in the list of all deployment monitors, as that of an account.
    #[must_use]
    pub(crate) fn monitor_entry(id: &str) -> Self {
        Self::new(Self::MONITORS, id)
    }

    /// Partition of the list of all deployment monitors.
    pub(crate) const MONITORS: &'static str = "MONITOR#";

    /// The user's record.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self::new(format!("USER#{name}"), "META")
    }

    /// The user's entry in the list of all users, which is the partition of the empty name.
    #[must_use]
    pub(crate) fn user_entry(name: &str) -> Self {
        Self::new(Self::USERS, name)
    }

    /// Partition of the list of all users.
    pub(crate) const USERS: &'static str = "USER#";

    /// Which user has that name elsewhere.
    #[must_use]
    pub fn identity(kind: &str, value: &str) -> Self {
        Self::new(format!("IDENTITY#{kind}#{value}"), "USER")
    }

    /// The pipeline's current revision.
    #[must_use]
    pub fn pipeline(application: &str, id: &str) -> Self {
        Self::new(format!("APP#{application}"), format!("PIPELINE#{id}"))
    }

    /// One revision of a pipeline.
    #[must_use]
    pub fn revision(pipeline_id: &str, number: u64) -> Self {
        Self::new(
            format!("PIPELINE#{pipeline_id}"),
            format!("REV#{number:010}"),
        )
    }

    /// A compiled plan.
    #[must_use]
    pub fn plan(hash: &str) -> Self {
        Self::new(format!("PLAN#{hash}"), "PLAN")
    }

    /// The execution's own record.
    #[must_use]
    pub fn execution(id: &ExecutionId) -> Self {
        Self::new(Self::execution_partition(id), "META")
    }

    /// What started the execution.
    #[must_use]
    pub fn trigger(id: &ExecutionId) -> Self {
        Self::new(Self::execution_partition(id), "TRIGGER")
    }

    /// What the execution's start made of its pipeline.
    #[must_use]
    pub fn processed(id: &ExecutionId) -> Self {
        Self::new(Self::execution_partition(id), "PROCESSED")
    }

    /// A stage's record.
    #[must_use]
    pub fn stage(id: &ExecutionId, ref_id: &str) -> Self {
        Self::new(Self::execution_partition(id), format!("STAGE#{ref_id}"))
    }

    /// An intent.
    #[must_use]
    pub fn intent(id: &ExecutionId, stage: &str, action: &str) -> Self {
        Self::new(
            Self::execution_partition(id),
            format!("INTENT#{stage}#{action}"),
        )
    }

    /// Partition of everything about an execution.
    #[must_use]
    pub fn execution_partition(id: &ExecutionId) -> String {
        format!("EXEC#{id}")
    }

    /// The task token of a stage's current Task; only `wake` may read it.
    #[must_use]
    pub fn token(run: &gennaker_domain::Run, ref_id: &str) -> Self {
        Self::new(format!("TOKEN#{run}"), ref_id)
    }

    /// An approval that was asked for.
    #[must_use]
    pub fn approval(id: &str) -> Self {
        Self::new(format!("APPROVAL#{id}"), "META")
    }

    /// A message about an approval that was sent, or is being sent.
    #[must_use]
    pub fn approval_message(id: &str, name: &str) -> Self {
        Self::new(format!("APPROVAL#{id}"), format!("SENT#{name}"))
    }
}
