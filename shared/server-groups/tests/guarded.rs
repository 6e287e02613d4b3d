//! What stands around every stage that changes server groups: what polls share, and that nothing is changed by it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gennaker_cloud::AutoScaling;
use gennaker_domain::PlanStage;
use gennaker_domain::deployment::Capacity;
use gennaker_lambda::{Invocation, Runtime, Stage, StageError, Step};
use gennaker_server_groups::{Clouds, Guarded, clouds, observe};
use gennaker_testkit::{Behaviour, Drive, World, drive};
use serde_json::{Map, Value, json};

/// Makes a group larger by one until it has five instances, and waits until they are in service: a change that follows
/// from what was seen, and is wrong if that was old.
struct Grows(Arc<dyn Clouds>);

impl Grows {
    const ENOUGH: u32 = 5;
}

#[async_trait]
impl Stage for Grows {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let name = invocation.context["serverGroupName"].as_str().unwrap();
        let place = clouds::place(&*self.0, invocation, "prod", "us-east-1").await?;
        let group = observe::group(&place, name).await?.unwrap();
        let desired = group.capacity.desired();
        if desired < Self::ENOUGH {
            let larger = Capacity::new(0, desired + 1, 9).unwrap();
            place.auto_scaling.set_capacity(name, larger).await?;
            return Ok(Step::waiting(invocation, "larger"));
        }
        let serving = group.instances.iter();
        let serving = serving.filter(|i| i.lifecycle_state == "InService").count();
        if serving < desired as usize {
            return Ok(Step::waiting(invocation, "boots"));
        }
        Ok(Step::succeeded())
    }

    fn serves(&self, stage_type: &str) -> bool {
        stage_type == "grow"
    }

    fn times_out(&self, _context: &Map<String, Value>, limit_millis: f64) -> bool {
        limit_millis > 1.0
    }
}

fn grow(ref_id: &str, cluster: &str) -> PlanStage {
    let context = json!({
        "credentials": "prod", "region": "us-east-1", "cluster": cluster, "serverGroupName": format!("{cluster}-v000"),
    });
    drive::stage(ref_id, "grow", "grow", context)
}

/// One execution with a stage for each cluster, whose group has so many instances.
async fn begin(clusters: &[(&str, u32)]) -> Drive {
    let stages = clusters.iter().map(|(cluster, _)| grow(cluster, cluster));
    let drive = Drive::new(Behaviour::default(), stages.collect())
        .await
        .unwrap();
    for (cluster, desired) in clusters {
        let size = Capacity::new(0, *desired, 9).unwrap();
        let name = format!("{cluster}-v000");
        drive.world.add_group(&name, "ami-1", size, &[]);
    }
    drive
}

fn function(drive: &Drive) -> Runtime<Guarded<Grows>> {
    let process = drive.world.process();
    drive.runtime(Guarded::new(Grows(process.clone()), process))
}

/// One call of a stage; the names of the Auto Scaling calls that it makes.
async fn calls(drive: &Drive, function: &Runtime<Guarded<Grows>>, stage: &str) -> Vec<String> {
    let before = drive.faults.made();
    let event = json!({ "run": drive.run(), "stage": stage });
    let answer = drive.call(function, &event).await;
    assert_eq!(answer.map(|(name, _)| name), Some("Waiting10s"));
    let mut made = drive.faults.calls_from(before);
    made.retain(|call| call.starts_with("autoscaling:"));
    made
}

const LOOKS: &str = "autoscaling:DescribeAutoScalingGroups";
const CHANGES: &str = "autoscaling:UpdateAutoScalingGroup";

#[tokio::test]
async fn one_call_polls_for_all_stages_that_the_process_polls() {
    let drive = begin(&[("one", 4), ("two", 4), ("three", 4)]).await;
    let function = function(&drive);
    for stage in ["one", "two", "three"] {
        assert_eq!(calls(&drive, &function, stage).await, [LOOKS, CHANGES]);
    }
    drive.world.advance(10_000);
    assert_eq!(calls(&drive, &function, "one").await, [LOOKS]);
    drive.world.advance(2_000);
    assert_eq!(calls(&drive, &function, "two").await, [""; 0]);
    assert_eq!(calls(&drive, &function, "three").await, [""; 0]);
}

#[tokio::test]
async fn a_stage_never_sees_the_same_observation_in_two_polls() {
    let drive = begin(&[("one", 4), ("two", 4)]).await;
    let function = function(&drive);
    calls(&drive, &function, "one").await;
    drive.world.advance(1_000);
    for _ in 0..3 {
        drive.world.advance(500);
        assert_eq!(calls(&drive, &function, "one").await, [LOOKS]);
    }
}

#[tokio::test]
async fn what_is_changed_follows_from_what_the_call_read_itself() {
    let drive = begin(&[("one", 4), ("two", 3)]).await;
    let function = function(&drive);
    calls(&drive, &function, "one").await;
    calls(&drive, &function, "two").await;
    drive.world.advance(10_000);
    // Sees both groups, the other one with four instances.
    assert_eq!(calls(&drive, &function, "one").await, [LOOKS]);
    // A person is faster: five is enough.
    let larger = Capacity::new(0, 5, 9).unwrap();
    drive.world.set_capacity("two-v000", larger).await.unwrap();
    drive.world.advance(1_000);
    assert_eq!(calls(&drive, &function, "two").await, [LOOKS]);
    let group = drive.world.group("two-v000").unwrap();
    assert_eq!(group.capacity.desired(), Grows::ENOUGH);
}

#[tokio::test]
async fn a_change_drops_what_was_seen_of_its_group() {
    let drive = begin(&[("one", 1)]).await;
    let (function, event) = (
        function(&drive),
        json!({ "run": drive.run(), "stage": "one" }),
    );
    for _ in 0..10 {
        let before = drive.world.group("one-v000").unwrap().capacity.desired();
        drive.call(&function, &event).await;
        let after = drive.world.group("one-v000").unwrap().capacity.desired();
        assert_eq!(after, Grows::ENOUGH.min(before + 1));
        drive.world.advance(100);
    }
}

#[tokio::test]
async fn a_throttled_poll_is_asked_again_later_and_once() {
    use gennaker_testkit::{Fault, Moment};
    let drive = begin(&[("one", 4)]).await;
    let function = function(&drive);
    calls(&drive, &function, "one").await;
    drive.world.advance(10_000);
    let event = json!({ "run": drive.run(), "stage": "one" });
    let made = drive.faults.made();
    // Wherever the look is among the calls of a poll.
    calls(&drive, &function, "one").await;
    let poll = drive.faults.calls_from(made);
    let look = poll.iter().position(|call| call == LOOKS).unwrap();
    drive.world.advance(10_000);
    let made = drive.faults.made();
    drive
        .faults
        .plan(made + look, Moment::Before, Fault::Throttle);
    let (name, reason) = drive.call(&function, &event).await.unwrap();
    // A retry in five seconds would ask twice as often as AWS found too much.
    assert_eq!(name, "Waiting10s");
    assert!(reason.contains("throttles"), "{reason}");
    let looks = drive.faults.calls_from(made);
    assert_eq!(looks.iter().filter(|call| *call == LOOKS).count(), 1);
    drive.world.advance(30_000);
    assert_eq!(drive.call(&function, &event).await, None);
}

/// Counts the groups of its cluster.
struct Counts(Arc<dyn Clouds>, Arc<Mutex<Vec<usize>>>);

#[async_trait]
impl Stage for Counts {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let place = clouds::place(&*self.0, invocation, "prod", "us-east-1").await?;
        let groups = observe::cluster_groups(&place, "one").await?;
        self.1.lock().unwrap().push(groups.len());
        Ok(Step::succeeded())
    }
}

/// How many groups each of these stages of one execution counts, a second apart; somebody else makes a group before the
/// third.
async fn counted(functions: [&str; 4]) -> Vec<usize> {
    let stages = functions.iter().enumerate().map(|(at, function)| {
        let context = json!({
            "credentials": "prod", "region": "us-east-1", "cluster": "one", "serverGroupName": "one-v000",
        });
        drive::stage(&at.to_string(), "count", function, context)
    });
    let drive = Drive::new(Behaviour::default(), stages.collect())
        .await
        .unwrap();
    let size = Capacity::new(0, 1, 9).unwrap();
    drive.world.add_group("one-v000", "ami-1", size, &[]);
    let (process, counted) = (drive.world.process(), Arc::default());
    let counts = Counts(process.clone(), Arc::clone(&counted));
    let function = drive.runtime(Guarded::new(counts, process));
    for stage in 0..functions.len() {
        drive.world.advance(1_000);
        if stage == 2 {
            drive.world.add_group("one-v001", "ami-1", size, &[]);
        }
        let event = json!({ "run": drive.run(), "stage": stage.to_string() });
        assert_eq!(drive.call(&function, &event).await, None);
    }
    counted.lock().unwrap().clone()
}

#[tokio::test]
async fn which_groups_there_are_is_known_from_stage_to_stage_until_one_of_them_may_have_made_one() {
    // The first takes the lock, the second lists.
    let pins = ["pin-server-group"; 4];
    assert_eq!(counted(pins).await, [1, 1, 1, 1]);
    let mut makes = pins;
    makes[2] = "create-server-group";
    assert_eq!(counted(makes).await, [1, 1, 2, 2]);
    // Of a function that is not known here nobody can tell.
    makes[2] = "pipeline";
    assert_eq!(counted(makes).await, [1, 1, 2, 2]);
}

#[test]
fn what_a_stage_serves_and_when_it_times_out_is_its_own_to_say() {
    let world = World::default();
    let stage = Guarded::new(Grows(world.process()), world.process());
    assert!(stage.serves("grow") && !stage.serves("shrink"));
    assert!(stage.times_out(&Map::new(), 2.0) && !stage.times_out(&Map::new(), 1.0));
}
