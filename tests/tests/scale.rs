//! Many deployments at once in one account: how many calls a second that makes in a region, with what a function's process
//! has seen shared by its polls and without, and what becomes of them where AWS throttles.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods, // The test is told by its environment how much to do.
    clippy::cast_precision_loss, // Counts of calls are far below 2^53.
    missing_docs
)]

mod fleet;
mod stages;

use std::collections::BTreeSet;

use fleet::{Conditions, Extent, Figures, Fleet, Log, simulated};
use gennaker_testkit::{Fault, Limit, Moment, Strike};

/// A limit that AWS sets in one account and region.
struct Quota {
    /// The operations that it is about: the beginning of their names.
    of: &'static str,
    /// Whether each of them has its own.
    each: bool,
    /// Calls a second, for ever.
    per_second: u32,
    /// Calls at once.
    burst: u32,
    source: &'static str,
}

const NOT_PUBLISHED: &str =
    "AWS publishes none (reference, 5.8: token bucket); EC2's of calls that only read";
/// The first that is about an operation counts.
const QUOTAS: [Quota; 6] = [
    Quota {
        of: "autoscaling:",
        each: false,
        per_second: 20,
        burst: 100,
        source: NOT_PUBLISHED,
    },
    Quota {
        of: "elasticloadbalancing:",
        each: false,
        per_second: 20,
        burst: 100,
        source: NOT_PUBLISHED,
    },
    Quota {
        of: "ec2:Describe",
        each: true,
        per_second: 20,
        burst: 100,
        source: "EC2 API throttling, calls that only read; each operation",
    },
    Quota {
        of: "ec2:",
        each: true,
        per_second: 5,
        burst: 50,
        source: "EC2 API throttling, calls that change; each operation",
    },
    Quota {
        of: "cloudwatch:DescribeAlarms",
        each: false,
        per_second: 9,
        burst: 9,
        source: "CloudWatch service quotas",
    },
    Quota {
        of: "states:StateTransition",
        each: false,
        per_second: 1_500,
        burst: 5_000,
        source: "reference, 1.1: state transitions, big regions",
    },
];

fn limits() -> Vec<Limit> {
    let limit = |quota: &Quota| Limit {
        of: quota.of.to_owned(),
        each: quota.each,
        per_second: quota.per_second.into(),
        burst: quota.burst.into(),
    };
    QUOTAS.iter().map(limit).collect()
}

/// One simulation under each of the conditions.
struct Three {
    alone: Vec<Log>,
    shared: Vec<Log>,
    throttled: Vec<Log>,
}

impl Three {
    fn all(&self) -> [&Vec<Log>; 3] {
        [&self.alone, &self.shared, &self.throttled]
    }
}

/// Calls in all regions, and a second in the one where they are most.
fn most(logs: &[Log], operation: &str) -> Figures {
    let figures = logs.iter().map(|log| log.of(operation));
    figures.fold(Figures::default(), |most, of| Figures {
        all: most.all + of.all,
        mean: most.mean.max(of.mean),
        minute: most.minute.max(of.minute),
        peak: most.peak.max(of.peak),
    })
}

/// Attempts that AWS did not answer, in all regions.
fn throttled(logs: &[Log], operation: &str) -> u64 {
    let all = logs.iter().flat_map(|log| &log.throttled);
    let of = all.filter(|(name, _)| name.starts_with(operation));
    of.map(|(_, count)| count).sum()
}

fn row(name: &str, three: &Three, quota: Option<&Quota>) {
    print!("{name:<46}");
    for logs in three.all() {
        let of = most(logs, name);
        print!(
            " | {:>6} {:>5.1} {:>5.1} {:>4}",
            of.all, of.mean, of.minute, of.peak
        );
    }
    print!(" {:>6}", throttled(&three.throttled, name));
    if let Some(quota) = quota.filter(|quota| !quota.each) {
        let share = 100.0 * most(&three.shared, name).minute / f64::from(quota.per_second);
        print!(" | {:>4} {share:>4.0} %", quota.per_second);
    }
    println!();
}

fn print(extent: Extent, three: &Three) {
    println!("{extent:?} in {} regions", three.shared.len());
    let heads = ["alone", "shared", "shared, AWS throttles"];
    for (head, logs) in heads.iter().zip(three.all()) {
        let took = || logs.iter().flat_map(|log| log.took.iter().copied());
        let over = logs.iter().map(|log| log.over).max().unwrap_or(0);
        println!(
            "{head}: over after {} s, a deployment takes {} s, the longest {} s",
            over / 1_000,
            took().sum::<i64>() / 1_000 / took().count().max(1) as i64,
            took().max().unwrap_or(0) / 1_000
        );
    }
    print!("{:<46}", "calls: all; in the busiest region a second:");
    for head in ["alone", "shared", "throttled"] {
        print!(" | {head:>6} {:>5} {:>5} {:>4}", "mean", "minute", "peak");
    }
    println!(" {:>6} | {:>4} share of shared minute", "again", "/s");
    for quota in &QUOTAS {
        let of_quota: BTreeSet<&String> = three
            .all()
            .into_iter()
            .flatten()
            .flat_map(Log::operations)
            .filter(|name| {
                let first = QUOTAS.iter().find(|quota| name.starts_with(quota.of));
                first.is_some_and(|first| first.of == quota.of)
            })
            .collect();
        row(quota.of, three, Some(quota));
        if of_quota.len() > 1 {
            for name in of_quota {
                row(name, three, None);
            }
        }
    }
    for quota in &QUOTAS {
        println!(
            "{}: {}/s, {} at once: {}",
            quota.of, quota.per_second, quota.burst, quota.source
        );
    }
}

/// 100 deployments; all 1,000 with `GENNAKER_DEPLOYMENTS=1000`.
#[tokio::test(flavor = "multi_thread")]
async fn polls_of_many_deployments_share_what_their_process_has_seen_and_a_throttle_fails_none() {
    let extent = Extent::asked(100);
    let conditions = |shared, limits| Conditions { shared, limits };
    let (alone, shared, throttled) = tokio::join!(
        simulated(extent, conditions(false, Vec::new())),
        simulated(extent, conditions(true, Vec::new())),
        simulated(extent, conditions(true, limits())),
    );
    let three = Three {
        alone,
        shared,
        throttled,
    };
    print(extent, &three);
    let times_as_many = |operation: &str, of: f64| {
        let (was, is) = (
            most(&three.alone, operation).all,
            most(&three.shared, operation).all,
        );
        assert!(
            is as f64 <= was as f64 * of,
            "{operation}: {was} calls, {is} with sharing"
        );
    };
    // More deployments share more; even so few save this much.
    times_as_many("autoscaling:Describe", 0.65);
    times_as_many("cloudwatch:DescribeAlarms", 0.65);
    // No call answers for two target groups, and what acts looks itself.
    times_as_many("elasticloadbalancing:", 1.1);
}

/// Two deployments, with a fault at a call; answers the calls that were made.
async fn deployed(strike: Option<Strike>) -> Vec<String> {
    let extent = Extent {
        deployments: 2,
        start_seconds: 1,
        processes: 2,
    };
    // The processes go on after a fault: what they have seen before it has to be as good as ever.
    let conditions = Conditions {
        shared: true,
        ..Conditions::default()
    };
    let mut fleet = Fleet::new("us-east-1", extent, &conditions).await;
    let first = fleet.faults.arm(strike);
    fleet.run(extent).await;
    assert_eq!(fleet.wrong(), Vec::<String>::new(), "{strike:?}");
    let expected = usize::from(strike.is_some());
    assert_eq!(fleet.faults.struck(), expected, "{strike:?}");
    let made = fleet.world.groups_made();
    assert_eq!(made.len(), 2, "{strike:?}: {made:?}");
    fleet.faults.calls_from(first)
}

/// Every change, and of what is read every seventh call.
#[tokio::test]
async fn no_fault_breaks_deployments_whose_polls_share() {
    let calls = deployed(None).await;
    let mut tried = 0;
    for (at, call) in calls.iter().enumerate() {
        let (service, operation) = call.split_once(':').unwrap();
        let reads = operation.starts_with("Describe");
        if service == "dynamodb" || (reads && at % 7 != 0) {
            continue;
        }
        deployed(Some((at, Moment::Before, Fault::Throttle))).await;
        deployed(Some((at, Moment::After, Fault::Crash))).await;
        tried += 2;
    }
    println!("{tried} faults");
}
