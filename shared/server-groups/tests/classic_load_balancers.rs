//! What polls share of a classic load balancer, and that a change is seen in the call that makes it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_domain::PlanStage;
use gennaker_domain::deployment::{Capacity, HealthState};
use gennaker_lambda::{Invocation, Stage, StageError, Step};
use gennaker_server_groups::{Clouds, Guarded, Place, clouds, observe};
use gennaker_testkit::{Behaviour, Drive, drive};
use serde_json::json;

const BALANCER: &str = "classic";

/// Waits, and says how its group's first instance is; on request it takes that out and looks again.
struct Watches(Arc<dyn Clouds>);

impl Watches {
    async fn first(place: &Place, group: &str) -> (String, HealthState) {
        let group = observe::server_group(place, group).await.unwrap().unwrap();
        let first = &group.instances[0];
        (first.id.clone(), first.health_state)
    }
}

#[async_trait]
impl Stage for Watches {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let group = invocation.context["serverGroupName"].as_str().unwrap();
        let place = clouds::place(&*self.0, invocation, "prod", "us-east-1").await?;
        let (id, mut state) = Self::first(&place, group).await;
        let mut said = format!("{state:?}");
        if invocation.context["takeOut"] == true {
            let port = &place.classic_load_balancing;
            port.deregister_instances(BALANCER, &[id]).await?;
            (_, state) = Self::first(&place, group).await;
            said = format!("{said}, then {state:?}");
        }
        Ok(Step::waiting(invocation, said))
    }
}

fn watch(cluster: &str, take_out: bool) -> PlanStage {
    let context = json!({
        "credentials": "prod", "region": "us-east-1", "cluster": cluster, "serverGroupName": format!("{cluster}-v000"),
        "takeOut": take_out,
    });
    drive::stage(cluster, "watch", "watch", context)
}

/// A stage for each cluster; their groups share a classic load balancer.
async fn begin(clusters: &[&str], take_out: bool) -> Drive {
    let stages = clusters.iter().map(|cluster| watch(cluster, take_out));
    let drive = Drive::new(Behaviour::default(), stages.collect())
        .await
        .unwrap();
    drive.world.add_load_balancer(BALANCER);
    for cluster in clusters {
        let name = format!("{cluster}-v000");
        let size = Capacity::fixed(1);
        drive.world.add_group(&name, "ami-1", size, &[]);
        drive.world.attach_load_balancer(&name, BALANCER);
    }
    drive
}

#[tokio::test]
async fn one_look_at_a_load_balancer_tells_all_stages_that_share_it() {
    let drive = begin(&["one", "two"], false).await;
    let process = drive.world.process();
    let function = drive.runtime(Guarded::new(Watches(process.clone()), process));
    let looks = async |stage: &str| {
        let before = drive.faults.made();
        let event = json!({ "run": drive.run(), "stage": stage });
        let (_, said) = drive.call(&function, &event).await.unwrap();
        assert!(said.contains("Up"), "{said}");
        let mut made = drive.faults.calls_from(before);
        made.retain(|call| call == "elasticloadbalancing:DescribeInstanceHealth");
        made.len()
    };
    // Whoever has not waited yet acts, and reads for itself.
    assert_eq!((looks("one").await, looks("two").await), (1, 1));
    drive.world.advance(10_000);
    assert_eq!(looks("one").await, 1);
    drive.world.advance(2_000);
    assert_eq!(looks("two").await, 0);
}

#[tokio::test]
async fn a_call_that_takes_an_instance_out_sees_it_drain() {
    let drive = begin(&["one"], true).await;
    let process = drive.world.process();
    let function = drive.runtime(Guarded::new(Watches(process.clone()), process));
    let event = json!({ "run": drive.run(), "stage": "one" });
    let (_, said) = drive.call(&function, &event).await.unwrap();
    assert!(said.contains("Up, then Draining"), "{said}");
}
