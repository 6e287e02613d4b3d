//! Server groups behind a classic load balancer, in traffic and out of it, on the local cloud.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;

use gennaker_tests::observed::{ended, idle, serving};
use gennaker_tests::{deploy, pipeline, system};
use serde_json::{Value, json};

const BALANCER: &str = "classic-prod";

/// The instances that the load balancer knows, each with its state.
fn registered() -> BTreeMap<String, String> {
    let asked = json!({"LoadBalancerName": BALANCER});
    let answer = system()
        .cloud
        .call("elb", "describe_instance_health", asked)
        .unwrap();
    let states = answer["InstanceStates"].as_array().unwrap();
    let text = |state: &Value, key: &str| state[key].as_str().unwrap().to_owned();
    states
        .iter()
        .map(|state| (text(state, "InstanceId"), text(state, "State")))
        .collect()
}

fn instances(group: &str) -> Vec<String> {
    let asked = json!({"AutoScalingGroupNames": [group]});
    let answer = system()
        .cloud
        .call("autoscaling", "describe_auto_scaling_groups", asked)
        .unwrap();
    let instances = answer["AutoScalingGroups"][0]["Instances"].as_array();
    let id = |instance: &Value| instance["InstanceId"].as_str().unwrap().to_owned();
    instances.unwrap().iter().map(id).collect()
}

#[test]
fn a_red_black_release_moves_a_classic_load_balancer_from_the_old_group_to_the_new_one() {
    let behind_it = json!({"targetGroups": [], "loadBalancers": [BALANCER]});
    let stage = deploy("1", &[], "classic", "classic-v2", &behind_it);
    let answer = system().run(&pipeline("classic", &[stage]), &[]);
    ended(&answer, "SUCCEEDED");
    let capacity = (2, 2, 4);
    assert_eq!(
        system().groups("classic-prod"),
        [
            idle("classic-prod-v000", capacity),
            serving("classic-prod-v001", capacity)
        ]
    );
    let in_service = |id: String| (id, "InService".to_owned());
    let expected: BTreeMap<String, String> = instances("classic-prod-v001")
        .into_iter()
        .map(in_service)
        .collect();
    assert_eq!(expected.len(), 2);
    assert_eq!(registered(), expected);
    assert_eq!(instances("classic-prod-v000").len(), 2, "they still run");
}
