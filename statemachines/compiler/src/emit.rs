//! The states language: the nested steps as one compact definition, written in order, so that the same plan gives the
//! same bytes.

use std::fmt::Write;

use gennaker_domain::{
    PlanStage,
    error_name::{self, Poll},
};

use crate::{
    catalog::Waiting,
    graph::Flow,
    lower::{Lowered, Step, goes_on},
    names,
};

/// Throttling, and Lambda's own errors that pass.
const PASSING: [&str; 5] = [
    error_name::THROTTLED,
    "Lambda.TooManyRequestsException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
];

/// How often a join looks again when its wake-up was lost, in seconds.
pub const JOIN_LOOKS_AGAIN_SECONDS: u32 = 600;

/// How much the retriers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Density {
    /// As the architecture lists them.
    Usual,
    /// For pipelines of many hundred stages, whose definition would not fit otherwise: throttling is retried at the
    /// interval of the shortest poll, and Tasks with a token do not name the errors that their functions never answer.
    Dense,
}

/// How a Task sleeps, which says what may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleeps {
    /// It polls.
    Not,
    /// In front of a stage.
    Joining,
    /// Until it is woken.
    Long,
    /// Until it is woken or its stage's time-out has passed, for the rest of which it polls after a pause.
    Limited,
}

/// A definition as text, and how many states it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Compact JSON.
    pub text: String,
    /// States, those inside of branches included.
    pub states: u64,
}

/// Writes the definition of a lowered pipeline whose functions' names begin with `prefix`.
#[must_use]
pub fn definition(lowered: &Lowered, prefix: &str, density: Density) -> Definition {
    let mut writer = Writer {
        density,
        lowered,
        prefix,
        // A Task takes some 900 bytes.
        text: String::with_capacity(lowered.stages.len() * 1000 + 200),
        states: 0,
        parallels: 0,
        ends: 0,
        fails: 0,
    };
    writer.text.push_str("{\"QueryLanguage\":\"JSONata\",");
    writer.scope(&lowered.flow);
    writer.text.push('}');
    Definition {
        text: writer.text,
        states: writer.states,
    }
}

struct Writer<'a> {
    density: Density,
    lowered: &'a Lowered,
    prefix: &'a str,
    text: String,
    states: u64,
    parallels: u64,
    ends: u64,
    fails: u64,
}

/// States that the `Catch`es of one scope lead to.
#[derive(Default)]
struct Caught {
    /// A `Succeed`, where the last Task of the scope goes on.
    end: Option<String>,
    /// A `Fail`: what ends the execution is not caught.
    fail: Option<String>,
}

/// Where a state goes when it is done.
enum After<'a> {
    Next(&'a str),
    End,
}

impl Writer<'_> {
    /// `"StartAt":…,"States":{…}` of a machine or a branch. Recursion is as deep as `Parallel` states are nested.
    fn scope(&mut self, flow: &Flow<Step>) {
        let parts: &[Flow<Step>] = match flow {
            Flow::Series(parts) => parts,
            other => std::slice::from_ref(other),
        };
        let names: Vec<String> = parts.iter().map(|part| self.name(part)).collect();
        let start = names.first().map_or("", String::as_str);
        let _ = write!(self.text, "\"StartAt\":{},\"States\":{{", quoted(start));
        let mut caught = Caught::default();
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            let name = names.get(at).map_or("", String::as_str);
            let after = names
                .get(at + 1)
                .map_or(After::End, |next| After::Next(next));
            let _ = write!(self.text, "{}:", quoted(name));
            self.states += 1;
            match part {
                Flow::Step(step) => self.task(*step, &after, &mut caught),
                Flow::Parallel(branches) => self.parallel(branches, &after),
                // Series are flattened when they are made.
                Flow::Series(_) => self.text.push_str("{\"Type\":\"Pass\",\"End\":true}"),
            }
        }
        for (name, kind) in [(caught.end, "Succeed"), (caught.fail, "Fail")] {
            if let Some(name) = name {
                self.states += 1;
                let _ = write!(self.text, ",{}:{{\"Type\":\"{kind}\"}}", quoted(&name));
            }
        }
        self.text.push('}');
    }

    /// The name of the state that a part starts with.
    fn name(&mut self, part: &Flow<Step>) -> String {
        match part {
            Flow::Step(Step::Work(stage)) => {
                let stage = self.lowered.stages.get(*stage);
                stage.map_or_else(String::new, |stage| {
                    names::state(&stage.stage_type, &stage.ref_id)
                })
            }
            Flow::Step(Step::Join(stage)) => {
                let stage = self.lowered.stages.get(*stage);
                stage.map_or_else(String::new, |stage| names::state("join", &stage.ref_id))
            }
            Flow::Parallel(_) | Flow::Series(_) => {
                self.parallels += 1;
                format!("parallel-{}", self.parallels)
            }
        }
    }

    fn parallel(&mut self, branches: &[Flow<Step>], after: &After<'_>) {
        self.text.push_str("{\"Type\":\"Parallel\",\"Branches\":[");
        for (at, branch) in branches.iter().enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            self.text.push('{');
            self.scope(branch);
            self.text.push('}');
        }
        self.text.push_str("],\"Output\":{}");
        self.next(after);
        self.text.push('}');
    }

    /// A Task.
    fn task(&mut self, step: Step, after: &After<'_>, caught: &mut Caught) {
        let (index, function, waiting) = match step {
            Step::Work(index) => {
                let Some(task) = self.lowered.tasks.get(index).copied().flatten() else {
                    return;
                };
                (index, task.function, task.waiting)
            }
            Step::Join(index) => (
                index,
                "join",
                Waiting::Woken {
                    look_again_seconds: JOIN_LOOKS_AGAIN_SECONDS,
                },
            ),
        };
        let Some(stage): Option<&PlanStage> = self.lowered.stages.get(index) else {
            return;
        };
        let woken = match waiting {
            Waiting::Polled => None,
            Waiting::Woken { look_again_seconds } => Some(look_again_seconds),
        };
        let _ = write!(
            self.text,
            "{{\"Type\":\"Task\",\"Resource\":\"arn:aws:states:::lambda:invoke{}\",\"Arguments\":{{\"FunctionName\":\"{}-{function}:live\",\"Payload\":{{\"run\":\"{{% $states.context.Execution.Name %}}\",\"stage\":{}",
            if woken.is_some() {
                ".waitForTaskToken"
            } else {
                ""
            },
            self.prefix,
            literal(&stage.ref_id),
        );
        if woken.is_some() {
            self.text
                .push_str(",\"token\":\"{% $states.context.Task.Token %}\"");
        }
        self.text.push_str("}},\"Output\":{},\"Retry\":");
        let sleeps = match step {
            _ if woken.is_none() => Sleeps::Not,
            Step::Join(_) => Sleeps::Joining,
            Step::Work(_) if self.has_time_out(stage) => Sleeps::Limited,
            Step::Work(_) => Sleeps::Long,
        };
        self.retriers(sleeps);
        if goes_on(&self.lowered.stages, index) {
            let target = match after {
                After::Next(next) => (*next).to_owned(),
                After::End => {
                    self.ends += 1;
                    let name = format!("end-{}", self.ends);
                    caught.end = Some(name.clone());
                    name
                }
            };
            // Its own failure lets the pipeline go on; `StageFailed` says that the execution ends, for whatever reason.
            let fail = caught.fail.get_or_insert_with(|| {
                self.fails += 1;
                format!("failed-{}", self.fails)
            });
            let _ = write!(
                self.text,
                ",\"Catch\":[{{\"ErrorEquals\":[\"{}\"],\"Next\":{}}},{{\"ErrorEquals\":[\"States.ALL\"],\"Next\":{}}}]",
                error_name::STAGE_FAILED,
                quoted(fail),
                quoted(&target)
            );
        }
        if let Some(seconds) = woken {
            let _ = write!(self.text, ",\"TimeoutSeconds\":{seconds}");
        }
        self.next(after);
        self.text.push('}');
    }

    /// Whether the stage, or one that it belongs to, has a time-out of its own.
    fn has_time_out(&self, stage: &PlanStage) -> bool {
        let parent = |of: &PlanStage| {
            let parent = of.parent.as_ref()?;
            let mut all = self.lowered.stages.iter();
            all.find(|other| other.ref_id == *parent)
        };
        std::iter::successors(Some(stage), |of| parent(of))
            .any(|of| of.context.contains_key("stageTimeoutMs"))
    }

    fn retriers(&mut self, sleeps: Sleeps) {
        self.text.push('[');
        // A join has nothing that could fail for good.
        if !(sleeps == Sleeps::Joining && self.density == Density::Dense) {
            let _ = write!(
                self.text,
                "{{\"ErrorEquals\":[\"{}\",\"{}\"],\"MaxAttempts\":0}},",
                error_name::STAGE_FAILED,
                error_name::INVALID_CONFIGURATION
            );
        }
        let ten = Poll::TenSeconds;
        let longer = [Poll::OneMinute, Poll::TenMinutes];
        match (self.density, sleeps) {
            (Density::Usual, _) => {
                self.steady(&[ten.error_name()], ten.seconds());
                for poll in longer {
                    self.steady(&[poll.error_name()], poll.seconds());
                }
                if sleeps != Sleeps::Not {
                    self.steady(&["States.Timeout"], 1);
                }
                self.steady(&PASSING, 5);
            }
            (Density::Dense, Sleeps::Not) => {
                let [throttled, lambda @ ..] = PASSING;
                let [one, two, three, four] = lambda;
                let errors = [ten.error_name(), throttled, one, two, three, four];
                self.steady(&errors, ten.seconds());
                for poll in longer {
                    self.steady(&[poll.error_name()], poll.seconds());
                }
            }
            (Density::Dense, _) => {
                if sleeps == Sleeps::Limited {
                    for poll in [ten].into_iter().chain(longer) {
                        self.steady(&[poll.error_name()], poll.seconds());
                    }
                }
                let [throttled, lambda @ ..] = PASSING;
                let [one, two, three, four] = lambda;
                self.steady(&["States.Timeout", throttled, one, two, three, four], 1);
            }
        }
        // Eight tries in all, 2 s to 256 s apart: a killed function is `Runtime.ExitError`, not a service error.
        self.text.push_str(match self.density {
            Density::Usual => {
                "{\"ErrorEquals\":[\"States.ALL\"],\"IntervalSeconds\":2,\"MaxAttempts\":8,\"BackoffRate\":2}]"
            }
            // A rate of 2 is the default.
            Density::Dense => {
                "{\"ErrorEquals\":[\"States.ALL\"],\"IntervalSeconds\":2,\"MaxAttempts\":8}]"
            }
        });
    }

    /// A retrier that never gives up and never slows down.
    fn steady(&mut self, errors: &[&str], seconds: u32) {
        self.text.push_str("{\"ErrorEquals\":[");
        for (at, error) in errors.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let _ = write!(self.text, "{comma}\"{error}\"");
        }
        let _ = write!(
            self.text,
            "],\"IntervalSeconds\":{seconds},\"MaxAttempts\":99999999,\"BackoffRate\":1}},"
        );
    }

    fn next(&mut self, after: &After<'_>) {
        match after {
            After::Next(next) => {
                let _ = write!(self.text, ",\"Next\":{}", quoted(next));
            }
            After::End => self.text.push_str(",\"End\":true"),
        }
    }
}

/// A text as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text as a JSON string that Step Functions passes on as it is.
///
/// A string from `{%` to `%}` is JSONata. Text with either mark in it is therefore written as a JSONata string
/// literal in which everything but letters and digits is escaped, so that nothing of it can be read as code.
fn literal(text: &str) -> String {
    if !text.contains("{%") && !text.contains("%}") {
        return quoted(text);
    }
    let mut code = String::from("{% \"");
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_alphanumeric() => code.push(char::from(byte)),
            _ => {
                let _ = write!(code, "\\u{unit:04x}");
            }
        }
    }
    code.push_str("\" %}");
    quoted(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_looks_like_code_becomes_an_escaped_literal() {
        assert_eq!(literal("3<1"), "\"3<1\"");
        assert_eq!(
            literal("{% 1 %}"),
            r#""{% \"\\u007b\\u0025\\u00201\\u0020\\u0025\\u007d\" %}""#
        );
    }
}
