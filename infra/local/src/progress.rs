//! What a person is told while something takes long.

/// One thing that is being done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What, for a person: ``installing the emulators``. The same title with a new count is the same bar.
    pub title: String,
    /// The last detail: a package or a crate; may be empty.
    pub detail: String,
    /// How much of how much is done, in whatever unit the step has; `None` when it cannot be known.
    pub done: Option<(u64, u64)>,
}

/// Receives the steps. Called from the thread that does the work, so it must return soon.
pub trait Progress: Send + Sync {
    /// A step began or went on.
    fn report(&self, step: Step);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _step: Step) {}
}

impl<F: Fn(Step) + Send + Sync> Progress for F {
    fn report(&self, step: Step) {
        self(step);
    }
}
