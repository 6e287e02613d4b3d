//! Every mutating stage and every strategy, run with a fault at every call: the process dies before the call takes
//! effect or after, AWS asks to slow down, an answer is lost, a description misses what was just created. Each also with
//! every invocation doubled, with an invocation in the middle of another, and with faults while it is undone.
//!
//! Prints a table. By default every call that changes something in the account dies before and after, and a sample of
//! the other calls gets each fault; with `GENNAKER_CRASH_MATRIX=full` every call gets every fault. `full redblack` tries
//! what has `redblack` in its name alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod stages;

use std::collections::BTreeSet;

use gennaker_testkit::{Fault, Moment};
use gennaker_tests::reach::Sources;
use stages::scenarios::{CALLS, Ground, Scenario, scenarios};

/// How many faults of the calls that change nothing are tried by default, for each scenario.
const SAMPLE: usize = 24;
/// How many invocations in the middle of another are tried by default, for each scenario.
const OVERLAPS: usize = 6;
/// How many faults while it is undone are tried by default, for each scenario.
const UNDO_SAMPLE: usize = 6;

const FAULTS: [(Moment, Fault); 6] = [
    (Moment::Before, Fault::Crash),
    (Moment::After, Fault::Crash),
    (Moment::Before, Fault::Throttle),
    (Moment::Before, Fault::NoAnswer),
    (Moment::After, Fault::NoAnswer),
    (Moment::Before, Fault::Stale),
];

/// How much is tried.
struct Extent {
    full: bool,
    /// Only scenarios with this in their names.
    only: String,
}

impl Extent {
    fn asked() -> Self {
        #[allow(clippy::disallowed_methods)] // How much is tried is said by the environment.
        let asked = std::env::var("GENNAKER_CRASH_MATRIX").unwrap_or_default();
        let (extent, only) = asked.split_once(' ').unwrap_or((&asked, ""));
        Self {
            full: extent == "full",
            only: only.to_owned(),
        }
    }

    /// One in so many is tried, so that `most` of `all` are.
    fn step(&self, all: usize, most: usize) -> usize {
        if self.full { 1 } else { (all / most).max(1) }
    }
}

/// A call that changes something in the account.
fn mutates(call: &str) -> bool {
    let name = call.split_once(':').map_or(call, |(_, name)| name);
    let of_account = [
        "autoscaling:",
        "cloudwatch:",
        "ec2:",
        "elasticloadbalancing:",
    ];
    let reads = ["Describe", "Get", "Query", "List"];
    of_account.iter().any(|service| call.starts_with(service))
        && !reads.iter().any(|read| name.starts_with(read))
}

/// Whether the fault makes sense at that call: only a list of groups lags behind.
fn fits(fault: Fault, call: &str) -> bool {
    fault != Fault::Stale || call.ends_with("DescribeAutoScalingGroups")
}

/// One line of the table.
struct Row<'a> {
    scenario: &'a Scenario,
    extent: &'a Extent,
    /// The run without a fault: its calls, from the first of the stages on, and what it made.
    first: usize,
    calls: Vec<String>,
    before: Vec<String>,
    state: Vec<String>,
    made: Vec<String>,
    shares: Vec<String>,
    effects: Vec<String>,
    faults: usize,
    doubled: usize,
    undone: usize,
    violations: Vec<String>,
}

impl<'a> Row<'a> {
    async fn of(scenario: &'a Scenario, extent: &'a Extent) -> Self {
        let ground = Ground::of(scenario).await;
        let (before, first) = (ground.state(), ground.calls().len());
        let failed = ground.run(1).await;
        assert_eq!(failed, None, "{}: the clean run fails", scenario.name);
        let calls = ground.calls()[first..].to_vec();
        ground.drive.world.advance(60_000);
        let row = Self {
            scenario,
            extent,
            first,
            calls,
            before,
            state: ground.state(),
            made: ground.drive.world.groups_made(),
            shares: ground.drive.world.shares(),
            effects: ground.effects(),
            faults: 0,
            doubled: 0,
            undone: 0,
            violations: Vec::new(),
        };
        let own = row.wrong(&ground, None);
        assert!(own.is_empty(), "{}: {own:?}", scenario.name);
        row
    }

    fn mutating(&self) -> Vec<usize> {
        (0..self.calls.len())
            .filter(|at| mutates(&self.calls[*at]))
            .collect()
    }

    /// What an interrupted run got wrong, compared with the clean one.
    fn wrong(&self, ground: &Ground, failed: Option<String>) -> Vec<String> {
        let mut wrong: Vec<String> = failed.into_iter().collect();
        let world = &ground.drive.world;
        world.advance(60_000);
        let mut differs = |what: &str, is: Vec<String>, clean: &[String]| {
            if is != clean {
                wrong.push(format!("{what} {is:?}, not {clean:?}"));
            }
        };
        differs("ends as", ground.state(), &self.state);
        differs("made", world.groups_made(), &self.made);
        differs("shared", world.shares(), &self.shares);
        differs("did", ground.effects(), &self.effects);
        let fewest = world.fewest_healthy().unwrap_or(0);
        if fewest < self.scenario.floor {
            wrong.push(format!(
                "{fewest} healthy, never under {}",
                self.scenario.floor
            ));
        }
        wrong
    }

    fn violated(&mut self, how: &str, wrong: &[String]) {
        if !wrong.is_empty() {
            let name = self.scenario.name;
            self.violations
                .push(format!("{name}: {how}: {}", wrong.join("; ")));
        }
    }

    /// A fault at every call; what changes something gets each fault that the extent asks for, or it is a violation.
    async fn faults(&mut self) {
        let mutating: BTreeSet<usize> = self.mutating().into_iter().collect();
        let step = self.extent.step(self.calls.len() * FAULTS.len(), SAMPLE);
        let mut number = 0;
        for at in 0..self.calls.len() {
            for (moment, fault) in FAULTS {
                number += 1;
                let call = self.calls[at].clone();
                if !fits(fault, &call) {
                    continue;
                }
                let dies = fault == Fault::Crash && mutating.contains(&at);
                if !dies && number % step != 0 {
                    continue;
                }
                let how = format!("{call} {moment:?} {fault:?} at call {at}");
                let ground = Ground::of(self.scenario).await;
                ground.drive.faults.plan(self.first + at, moment, fault);
                let failed = ground.run(1).await;
                self.faults += 1;
                let wrong = self.wrong(&ground, failed);
                self.violated(&how, &wrong);
                if ground.drive.faults.struck() == 0 {
                    self.violated(&how, &["the fault was not tried".to_owned()]);
                }
                if fault == Fault::Crash && self.scenario.undoable {
                    self.canceled_where_it_died(at, moment).await;
                }
            }
        }
    }

    /// Canceled where it died: everything is as before, whatever had begun.
    async fn canceled_where_it_died(&mut self, at: usize, moment: Moment) {
        let ground = Ground::of(self.scenario).await;
        ground
            .drive
            .faults
            .plan(self.first + at, moment, Fault::Crash);
        ground.run_until_struck().await;
        ground.end().await;
        self.undone += 1;
        let failed = ground.undo(|_, _| {}).await;
        let how = format!("undone after {} {moment:?} at call {at}", self.calls[at]);
        self.is_as_before(&how, &ground, failed);
    }

    fn is_as_before(&mut self, how: &str, ground: &Ground, failed: Option<String>) {
        ground.drive.world.advance(120_000);
        let mut wrong: Vec<String> = failed.into_iter().collect();
        let now = ground.state();
        if now != self.before {
            wrong.push(format!("{now:?}, not {:?}", self.before));
        }
        self.violated(how, &wrong);
    }

    /// Faults while everything is undone, after the last change.
    async fn undo_with_faults(&mut self) {
        let Some(last) = self.mutating().last().copied() else {
            return;
        };
        if !self.scenario.undoable {
            return;
        }
        let interrupted = async || {
            let ground = Ground::of(self.scenario).await;
            let at = self.first + last;
            ground.drive.faults.plan(at, Moment::After, Fault::Crash);
            ground.run_until_struck().await;
            ground.end().await;
            let from = ground.calls().len();
            (ground, from)
        };
        let (clean, from) = interrupted().await;
        let failed = clean.undo(|_, _| {}).await;
        let calls = clean.calls()[from..].to_vec();
        let mut tried = vec![("undone".to_owned(), clean, failed)];
        let step = self.extent.step(calls.len() * FAULTS.len(), UNDO_SAMPLE);
        let mut number = 0;
        for (at, call) in calls.iter().enumerate() {
            for (moment, fault) in FAULTS {
                number += 1;
                let dies = fault == Fault::Crash && mutates(call);
                if !fits(fault, call) || (!dies && number % step != 0) {
                    continue;
                }
                let (ground, from) = interrupted().await;
                ground.drive.faults.plan(from + at, moment, fault);
                let failed = ground.undo(|_, _| {}).await;
                let how = format!("{call} {moment:?} {fault:?} at call {at} of the undo");
                tried.push((how, ground, failed));
            }
        }
        for (how, ground, failed) in tried {
            self.undone += 1;
            self.is_as_before(&how, &ground, failed);
        }
    }

    /// Every invocation twice in a row, and one in the middle of another at every call.
    async fn invoked_twice(&mut self) {
        let ground = Ground::of(self.scenario).await;
        let failed = ground.run(2).await;
        self.doubled += 1;
        let wrong = self.wrong(&ground, failed);
        self.violated("every invocation twice", &wrong);
        let step = self.extent.step(self.calls.len(), OVERLAPS);
        for at in (0..self.calls.len()).step_by(step) {
            let ground = Ground::of(self.scenario).await;
            ground.overlap(self.first + at);
            let failed = ground.run(1).await;
            self.doubled += 1;
            let wrong = self.wrong(&ground, failed);
            let how = format!(
                "invoked again in the middle of {} at call {at}",
                self.calls[at]
            );
            self.violated(&how, &wrong);
        }
    }

    fn print(&self) {
        println!(
            "{:<42} {:>6} {:>9} {:>7} {:>8} {:>7} {:>11}",
            self.scenario.name,
            self.calls.len(),
            self.mutating().len(),
            self.faults,
            self.doubled,
            self.undone,
            self.violations.len()
        );
    }
}

/// The functions whose code can change something in the account of server groups.
fn functions_that_mutate() -> BTreeSet<String> {
    let sources = Sources::read();
    let directory = gennaker_tests::workspace().join("functions");
    let names = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    // An action that AWS asks for besides the call's own: nobody calls it.
    let calls = |action: &String| mutates(action) && action != "ec2:RunInstances";
    names
        .filter(|name| sources.of_function(name).actions().iter().any(calls))
        .collect()
}

#[tokio::test]
async fn every_function_that_can_change_server_groups_changes_some_in_the_matrix() {
    let mut changed = BTreeSet::new();
    for scenario in scenarios() {
        let ground = Ground::of(&scenario).await;
        ground
            .run_at_most(CALLS, |function, from| {
                if ground.calls()[from..].iter().any(|call| mutates(call)) {
                    changed.insert(function.to_owned());
                }
            })
            .await;
    }
    assert_eq!(changed, functions_that_mutate());
}

#[tokio::test]
async fn no_fault_at_any_call_breaks_a_stage_or_a_strategy() {
    let extent = Extent::asked();
    let mut violations = Vec::new();
    println!(
        "{:<42} {:>6} {:>9} {:>7} {:>8} {:>7} {:>11}",
        "stage or strategy", "calls", "mutating", "faults", "doubled", "undone", "violations"
    );
    for scenario in scenarios() {
        if !scenario.name.contains(&extent.only) {
            continue;
        }
        let mut row = Row::of(&scenario, &extent).await;
        row.faults().await;
        row.invoked_twice().await;
        row.undo_with_faults().await;
        row.print();
        violations.append(&mut row.violations);
    }
    let shown: Vec<&str> = violations.iter().take(40).map(String::as_str).collect();
    assert!(
        violations.is_empty(),
        "{} violations\n{}",
        violations.len(),
        shown.join("\n")
    );
}
