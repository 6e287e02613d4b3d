//! The states language as the compiler emits it, one step at a time: which Task comes next, and what an error does.

use serde_json::{Map, Value};

/// A definition that is none of the compiler's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the definition cannot be run: {0}")]
pub(crate) struct Broken(pub String);

fn broken(message: impl Into<String>) -> Broken {
    Broken(message.into())
}

/// A place in a definition: a state of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub scope: usize,
    pub state: String,
}

/// A machine or one branch of a `Parallel`.
#[derive(Debug)]
struct Scope {
    /// JSON pointer to its `States`.
    states: String,
    /// The place of the `Parallel` that it is a branch of.
    parent: Option<Place>,
    /// Branches of the `Parallel` that it is in, which have not ended.
    open_branches: usize,
}

/// One execution of a definition.
#[derive(Debug)]
pub(crate) struct Machine {
    definition: Value,
    scopes: Vec<Scope>,
}

/// What comes of going on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// These Tasks are entered, in order.
    Tasks(Vec<Place>),
    /// The machine has ended well.
    Over,
    /// It has come to a `Fail` state.
    Failed,
}

/// What an error of a Task leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It is called again after so many milliseconds; the retrier's number counts it.
    Again { retrier: usize, millis: i64 },
    /// It goes on at this place.
    Caught(Place),
    /// It fails its machine.
    Fails,
}

impl Machine {
    pub fn new(definition: Value) -> Self {
        Self {
            definition,
            scopes: Vec::new(),
        }
    }

    /// Enters the machine.
    pub fn start(&mut self) -> Result<Next, Broken> {
        let mut tasks = Vec::new();
        let over = self.open(String::new(), None, &mut tasks)?;
        Ok(self.next(over, tasks))
    }

    /// The Task at a place is done.
    pub fn done(&mut self, place: &Place) -> Result<Next, Broken> {
        let mut tasks = Vec::new();
        let over = self.leave_state(place.clone(), &mut tasks)?;
        Ok(self.next(over, tasks))
    }

    /// Goes on at the target of a `Catch`.
    pub fn go_to(&mut self, place: Place) -> Result<Next, Broken> {
        let kind = self.state(&place).and_then(|state| state.get("Type"));
        if kind.and_then(Value::as_str) == Some("Fail") {
            return Ok(Next::Failed);
        }
        let mut tasks = Vec::new();
        let over = self.enter(place, &mut tasks)?;
        Ok(self.next(over, tasks))
    }

    #[allow(clippy::unused_self)] // Reads better beside the others.
    fn next(&self, over: bool, tasks: Vec<Place>) -> Next {
        if over { Next::Over } else { Next::Tasks(tasks) }
    }

    pub fn state(&self, place: &Place) -> Option<&Map<String, Value>> {
        let states = &self.scopes.get(place.scope)?.states;
        self.definition
            .pointer(states)?
            .get(&place.state)?
            .as_object()
    }

    /// Opens a machine or a branch; whether everything is over at once.
    fn open(
        &mut self,
        pointer: String,
        parent: Option<Place>,
        tasks: &mut Vec<Place>,
    ) -> Result<bool, Broken> {
        let start = self
            .definition
            .pointer(&pointer)
            .and_then(|machine| machine.get("StartAt"))
            .and_then(Value::as_str)
            .ok_or_else(|| broken("`StartAt` is missing"))?
            .to_owned();
        self.scopes.push(Scope {
            states: format!("{pointer}/States"),
            parent,
            open_branches: 0,
        });
        let scope = self.scopes.len() - 1;
        self.enter(
            Place {
                scope,
                state: start,
            },
            tasks,
        )
    }

    /// Recursion is as deep as `Parallel` states are nested, which the compiler bounds.
    fn enter(&mut self, place: Place, tasks: &mut Vec<Place>) -> Result<bool, Broken> {
        let state = self
            .state(&place)
            .ok_or_else(|| broken(format!("there is no state `{}`", place.state)))?;
        match state.get("Type").and_then(Value::as_str) {
            Some("Task") => {
                tasks.push(place);
                Ok(false)
            }
            Some("Pass") => self.leave_state(place, tasks),
            Some("Succeed") => self.leave_scope(place.scope, tasks),
            Some("Parallel") => {
                let count = state
                    .get("Branches")
                    .and_then(Value::as_array)
                    .map_or(0, Vec::len);
                let scope = self
                    .scopes
                    .get_mut(place.scope)
                    .filter(|_| count > 0)
                    .ok_or_else(|| broken(format!("`{}` has no branches", place.state)))?;
                scope.open_branches = count;
                let name = place.state.replace('~', "~0").replace('/', "~1");
                let states = scope.states.clone();
                let mut over = false;
                for branch in 0..count {
                    let pointer = format!("{states}/{name}/Branches/{branch}");
                    over = self.open(pointer, Some(place.clone()), tasks)?;
                }
                Ok(over)
            }
            other => Err(broken(format!("`{}` is a {other:?}", place.state))),
        }
    }

    fn leave_state(&mut self, place: Place, tasks: &mut Vec<Place>) -> Result<bool, Broken> {
        let state = self
            .state(&place)
            .ok_or_else(|| broken(format!("there is no state `{}`", place.state)))?;
        match state.get("Next").and_then(Value::as_str) {
            Some(next) => {
                let next = Place {
                    scope: place.scope,
                    state: next.to_owned(),
                };
                self.enter(next, tasks)
            }
            None => self.leave_scope(place.scope, tasks),
        }
    }

    /// A scope ends well; the last branch of a `Parallel` takes its machine on.
    fn leave_scope(&mut self, scope: usize, tasks: &mut Vec<Place>) -> Result<bool, Broken> {
        let Some(parent) = self
            .scopes
            .get(scope)
            .and_then(|scope| scope.parent.clone())
        else {
            return Ok(true);
        };
        let left = self.scopes.get_mut(parent.scope).map_or(0, |scope| {
            scope.open_branches = scope.open_branches.saturating_sub(1);
            scope.open_branches
        });
        if left > 0 {
            return Ok(false);
        }
        self.leave_state(parent, tasks)
    }

    /// What an error of the Task at a place does; `tried` counts by retrier.
    pub fn failed(&self, place: &Place, error: &str, tried: &[(usize, u32)]) -> After {
        let Some(state) = self.state(place) else {
            return After::Fails;
        };
        let names = |of: &Value| {
            of.get("ErrorEquals")
                .and_then(Value::as_array)
                .is_some_and(|names| {
                    names
                        .iter()
                        .filter_map(Value::as_str)
                        .any(|name| name == error || name == "States.ALL")
                })
        };
        let list = |name: &str| state.get(name).and_then(Value::as_array);
        let retrier = list("Retry")
            .into_iter()
            .flatten()
            .enumerate()
            .find(|(_, retrier)| names(retrier));
        if let Some((number, retrier)) = retrier {
            let count = tried
                .iter()
                .find(|(of, _)| *of == number)
                .map_or(0, |(_, count)| *count);
            let field = |name: &str, default: f64| {
                retrier.get(name).and_then(Value::as_f64).unwrap_or(default)
            };
            if f64::from(count) < field("MaxAttempts", 3.0) {
                let rate = field("BackoffRate", 2.0);
                let exponent = i32::try_from(count.min(30)).unwrap_or(30);
                let seconds = field("IntervalSeconds", 1.0) * rate.powi(exponent);
                // Saturates.
                let millis = (seconds * 1_000.0) as i64;
                return After::Again {
                    retrier: number,
                    millis,
                };
            }
        }
        let catcher = list("Catch").into_iter().flatten().find(|of| names(of));
        match catcher
            .and_then(|of| of.get("Next"))
            .and_then(Value::as_str)
        {
            Some(next) => After::Caught(Place {
                scope: place.scope,
                state: next.to_owned(),
            }),
            None => After::Fails,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn place(scope: usize, state: &str) -> Place {
        Place {
            scope,
            state: state.to_owned(),
        }
    }

    #[test]
    fn a_parallel_goes_on_when_its_last_branch_has_ended() {
        let branch =
            |name: &str| json!({"StartAt": name, "States": {name: {"Type": "Task", "End": true}}});
        let mut machine = Machine::new(json!({"StartAt": "p", "States": {
            "p": {"Type": "Parallel", "Branches": [branch("a"), branch("b")], "Next": "c"},
            "c": {"Type": "Task", "End": true},
        }}));
        assert_eq!(
            machine.start(),
            Ok(Next::Tasks(vec![place(1, "a"), place(2, "b")]))
        );
        assert_eq!(machine.done(&place(2, "b")), Ok(Next::Tasks(Vec::new())));
        assert_eq!(
            machine.done(&place(1, "a")),
            Ok(Next::Tasks(vec![place(0, "c")]))
        );
        assert_eq!(machine.done(&place(0, "c")), Ok(Next::Over));
    }

    #[test]
    fn an_error_is_retried_then_caught_then_fails() {
        let retry = json!([
            {"ErrorEquals": ["StageFailed"], "MaxAttempts": 0},
            {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "MaxAttempts": 2, "BackoffRate": 2},
        ]);
        let caught = json!([{"ErrorEquals": ["States.ALL"], "Next": "b"}]);
        let mut machine = Machine::new(json!({"StartAt": "a", "States": {
            "a": {"Type": "Task", "Retry": retry, "Catch": caught, "Next": "b"},
            "b": {"Type": "Task", "Retry": retry, "End": true},
        }}));
        machine.start().unwrap();
        let again = |millis| After::Again { retrier: 1, millis };
        assert_eq!(
            machine.failed(&place(0, "a"), "Unexpected", &[]),
            again(2_000)
        );
        let tried = [(1, 1)];
        assert_eq!(
            machine.failed(&place(0, "a"), "Unexpected", &tried),
            again(4_000)
        );
        let tried = [(1, 2)];
        let on = After::Caught(place(0, "b"));
        assert_eq!(machine.failed(&place(0, "a"), "Unexpected", &tried), on);
        assert_eq!(machine.failed(&place(0, "a"), "StageFailed", &[]), on);
        assert_eq!(
            machine.failed(&place(0, "b"), "StageFailed", &[]),
            After::Fails
        );
    }
}
