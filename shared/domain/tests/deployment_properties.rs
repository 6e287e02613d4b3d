//! What holds for every cluster and every request, not just for the recorded ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use gennaker_domain::deployment::capacity::{Resize, ResizeBasis, resized_capacity};
use gennaker_domain::deployment::cluster_operation::{ClusterOperation, select};
use gennaker_domain::deployment::find_image_from_tags::{
    FindImageFromTags, TaggedImage, newest_images, pattern_matches,
};
use gennaker_domain::deployment::naming::{next_server_group_name, parse};
use gennaker_domain::deployment::source::{capacity_snapshot, restored_minimum};
use gennaker_domain::deployment::traffic_guard::{GuardedCluster, TrafficGuards, check};
use gennaker_domain::deployment::{
    Capacity, HealthState, Instance, ServerGroup, evaluate_case, newest,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn capacity() -> impl Strategy<Value = Capacity> {
    (0_u32..50, 0_u32..50, 0_u32..50).prop_map(|(a, b, c)| {
        let mut sizes = [a, b, c];
        sizes.sort_unstable();
        Capacity::new(sizes[0], sizes[1], sizes[2]).unwrap()
    })
}

fn resize() -> impl Strategy<Value = Value> {
    let action = prop::sample::select(vec![
        "scale_exact",
        "scale_up",
        "scale_down",
        "scale_to_cluster",
        "scale_to_server_group",
    ]);
    let size = || prop::option::of(-5_i64..60);
    (action, size(), size(), (size(), size(), size()), any::<(bool, bool, bool)>(), size()).prop_map(
        |(action, percent, number, (min, desired, max), (pin, pin_minimum, unpin), saved)| {
            json!({
                "action": action, "scalePct": percent, "scaleNum": number,
                "capacity": {"min": min, "desired": desired, "max": max},
                "pinCapacity": pin, "pinMinimumCapacity": pin_minimum, "unpinMinimumCapacity": unpin,
                "savedCapacity": {"min": saved}, "source": {},
            })
        },
    )
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!(i64::MIN)),
        Just(json!(u64::MAX)),
        Just(json!(1e300)),
        Just(json!(4_294_967_295_u32)),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[{}], -1, "100", 101])),
        Just(
            json!({"min": 4_294_967_295_u32, "desired": 4_294_967_295_u32, "max": 4_294_967_295_u32})
        ),
    ]
}

fn cluster() -> impl Strategy<Value = Vec<ServerGroup>> {
    let group = (0_i64..20, any::<bool>(), 0_usize..5, 0_usize..3, capacity());
    prop::collection::vec(group, 0..9).prop_map(|groups| {
        groups
            .into_iter()
            .enumerate()
            .map(|(n, (created_millis, enabled, up, down, capacity))| {
                let instance = |health_state| Instance {
                    health_state,
                    ..Instance::default()
                };
                let mut instances = vec![instance(HealthState::Up); up];
                instances.extend(vec![instance(HealthState::Down); down]);
                ServerGroup {
                    name: format!("shop-v{n:03}"),
                    created_millis,
                    enabled,
                    instances,
                    capacity,
                    ..ServerGroup::default()
                }
            })
            .collect()
    })
}

fn operation() -> impl Strategy<Value = ClusterOperation> {
    (0_usize..3, -1_i64..6, any::<bool>(), any::<bool>()).prop_map(
        |(which, size, active, larger)| match which {
            0 => ClusterOperation::Disable {
                remaining_enabled: size,
                prefer_larger: larger,
                desired_percentage: None,
            },
            1 => ClusterOperation::Shrink {
                to_size: size,
                allow_delete_active: active,
                retain_larger: larger,
            },
            _ => ClusterOperation::ScaleDown {
                remaining_full_size: size,
                allow_scale_down_active: active,
                prefer_larger: larger,
            },
        },
    )
}

proptest! {
    #[test]
    fn a_resize_gives_possible_capacities_only(request in resize(), current in capacity(), source in capacity(), other in capacity()) {
        let resize = Resize::from_context(request.as_object().unwrap()).unwrap();
        let cluster = [current, other];
        if let Ok(resized) = resized_capacity(&resize, ResizeBasis { current, source: Some(source), cluster: &cluster }) {
            let target = resized.target;
            prop_assert!(target.min() <= target.desired() && target.desired() <= target.max());
        }
    }

    #[test]
    fn scaling_up_is_never_smaller_and_scaling_down_never_larger(current in capacity(), number in 0_i64..30, percent in 0_i64..200) {
        for size in [json!({"scaleNum": number}), json!({"scalePct": percent})] {
            for (action, up) in [("scale_up", true), ("scale_down", false)] {
                let mut request = size.clone();
                request["action"] = json!(action);
                let resize = Resize::from_context(request.as_object().unwrap()).unwrap();
                let target = resized_capacity(&resize, ResizeBasis { current, source: None, cluster: &[] }).unwrap().target;
                prop_assert_eq!(target.desired() >= current.desired(), up || target.desired() == current.desired());
            }
        }
    }

    #[test]
    fn a_pin_holds_the_desired_size_and_its_end_never_goes_under_the_floor(capacity in capacity(), floor in 0_u32..50) {
        prop_assert!(capacity.pin_minimum().min() == capacity.desired());
        prop_assert!(capacity.pin().is_pinned());
        let pinned = capacity.pin_minimum();
        prop_assert_eq!(pinned.unpin_minimum(capacity.min()), capacity);
        let unpinned = pinned.unpin_minimum(floor);
        prop_assert_eq!(unpinned.min(), floor.min(pinned.min()));
        prop_assert_eq!(unpinned.desired(), capacity.desired());
    }

    #[test]
    fn a_copied_capacity_keeps_its_size_until_the_minimum_comes_back(source in capacity()) {
        let snapshot = capacity_snapshot(source);
        prop_assert_eq!(snapshot.new_group.desired(), source.desired());
        prop_assert_eq!(snapshot.new_group.min(), source.desired());
        prop_assert_eq!(restored_minimum(snapshot.source, snapshot.new_group), source.min());
    }

    #[test]
    fn no_operation_touches_what_was_deployed_or_anything_newer(groups in cluster(), operation in operation(), deployed in prop::sample::subsequence((0..9).collect::<Vec<usize>>(), 0..3)) {
        let deployed: Vec<String> = deployed.into_iter().map(|n| format!("shop-v{n:03}")).collect();
        let since = groups.iter().filter(|group| deployed.contains(&group.name)).map(|group| group.created_millis).min();
        let selection = select(operation, &groups, &deployed);
        for group in &selection.chosen {
            prop_assert!(!deployed.contains(&group.name));
            prop_assert!(since.is_none_or(|since| group.created_millis <= since));
        }
        prop_assert_eq!(selection.chosen.len() + selection.kept.len(), groups.len());
    }

    #[test]
    fn shrinking_never_destroys_a_newer_group_than_one_it_keeps(groups in cluster(), size in 0_i64..6) {
        let operation = ClusterOperation::Shrink { to_size: size, allow_delete_active: false, retain_larger: false };
        let selection = select(operation, &groups, &[]);
        let oldest_kept = selection.kept.iter().filter(|(group, _)| !group.is_active()).map(|(group, _)| group.created_millis).min();
        for group in &selection.chosen {
            prop_assert!(!group.is_active());
            prop_assert!(oldest_kept.is_none_or(|kept| group.created_millis <= kept));
        }
        let left = groups.len() - selection.chosen.len();
        prop_assert!(left >= usize::try_from(size).unwrap().min(groups.len()));
    }

    #[test]
    fn a_guarded_cluster_never_loses_its_last_healthy_instance(groups in cluster(), operation in operation()) {
        let application = json!({"trafficGuards": [{"account": "*", "location": "*", "stack": "*", "detail": "*"}]});
        let guards = TrafficGuards::of_application(application.as_object().unwrap());
        let cluster = GuardedCluster { account: "prod", region: "us-east-1", cluster: "shop", stack: None, detail: None };
        let chosen = select(operation, &groups, &[]).chosen;
        let up = |groups: &[&ServerGroup]| groups.iter().map(|group| group.instances_up()).sum::<usize>();
        let all: Vec<&ServerGroup> = groups.iter().collect();
        let allowed = check(&guards, cluster, &chosen, &all, "").is_ok();
        let left = up(&all) - up(&chosen);
        prop_assert_eq!(allowed, chosen.is_empty() || up(&all) == 0 || left > 0);
    }

    #[test]
    fn the_next_name_is_free_and_follows_the_newest(sequences in prop::collection::btree_set(0_u32..1000, 0..40), newest_at in any::<prop::sample::Index>()) {
        let sequences: Vec<u32> = sequences.into_iter().collect();
        let newest_sequence = (!sequences.is_empty()).then(|| sequences[newest_at.index(sequences.len())]);
        let groups: Vec<ServerGroup> = sequences
            .iter()
            .map(|sequence| ServerGroup {
                name: format!("shop-web-v{sequence:03}"),
                created_millis: i64::from(Some(*sequence) == newest_sequence),
                ..ServerGroup::default()
            })
            .collect();
        let name = next_server_group_name("shop-web", &groups).unwrap();
        let next = parse(&name).sequence.unwrap();
        prop_assert!(next < 1000 && !sequences.contains(&next));
        if let Some(newest_sequence) = newest_sequence {
            prop_assert_eq!(parse(&newest(&groups).unwrap().name).sequence, Some(newest_sequence));
            // Everything between the newest and the next is taken, around the end as well.
            let skipped = (next + 1000 - newest_sequence - 1) % 1000;
            prop_assert!((1..=skipped).all(|step| sequences.contains(&((newest_sequence + step) % 1000))));
        } else {
            prop_assert_eq!(next, 0);
        }
    }

    #[test]
    fn a_name_that_is_read_is_built_again(name in "[a-z0-9.-]{0,12}(-v[0-9]{2,7})?") {
        let names = parse(&name);
        if let Some(app) = &names.app {
            prop_assert!(name.starts_with(app.as_str()));
            let sequence = names.push.as_ref().map(|push| format!("-{push}")).unwrap_or_default();
            prop_assert_eq!(format!("{}{sequence}", names.cluster.unwrap()), name);
        }
    }

    #[test]
    fn a_deployment_with_anything_in_any_place_is_answered(key in 0_usize..60, nested in any::<bool>(), value in odd_value(), strategy in 0_usize..7, stage_type in 0_usize..5) {
        let strategies = ["redblack", "rollingredblack", "monitored", "highlander", "custom", "rollingpush", ""];
        let mut context = json!({
            "account": "prod", "application": "shop", "stack": "web", "region": "us-east-1", "strategy": strategies[strategy],
            "capacity": {"min": 1, "desired": 2, "max": 3}, "useSourceCapacity": true, "maxRemainingAsgs": 1, "scaleDown": true,
            "targetPercentages": [30, 60], "deploySteps": [50], "rollback": {"onFailure": true, "destroyLatest": true},
            "failureActions": {"rollback": "Automatic", "destroyInstances": true}, "deploymentMonitor": {"id": "mon"},
            "delayBeforeDisableSec": 1, "pipelineBeforeCleanup": {"application": "shop", "pipelineId": "p"}, "source": {},
            "moniker": {"app": "shop", "cluster": "shop-web"}, "regions": ["us-east-1"], "serverGroup": "shop-web-v001",
            "rollbackType": "EXPLICIT", "rollbackContext": {"rollbackServerGroupName": "shop-web-v001", "restoreServerGroupName": "shop-web-v000"},
            "additionalRollbackContext": {"onlyEnabledServerGroups": false}, "termination": {"totalRelaunches": 1}, "cluster": {"stack": "web"},
        });
        let keys: Vec<String> = context.as_object().unwrap().keys().cloned().collect();
        let key = &keys[key % keys.len()];
        match context[key].as_object().and_then(|inner| inner.keys().next().cloned()).filter(|_| nested) {
            Some(inner) => context[key][inner] = value,
            None => context[key] = value,
        }
        let group = |n: i64| json!({
            "account": "prod", "region": "us-east-1", "name": format!("shop-web-v{n:03}"), "createdTime": n, "disabled": n == 0,
            "capacity": {"min": 1, "desired": 2, "max": 4}, "instanceCount": 2, "moniker": {"app": "shop", "cluster": "shop-web"},
        });
        let stage_types = ["deploy", "createServerGroup", "cloneServerGroup", "rollbackCluster", "rollbackServerGroup"];
        let case = json!({"id": "x", "decision": "strategies", "input": {
            "stageType": stage_types[stage_type], "context": context, "serverGroups": [group(0), group(1)],
            "failAt": {"type": "createServerGroup", "task": "waitForUpInstances", "nth": 1},
        }});
        let answer = evaluate_case(&case);
        prop_assert!(answer["result"]["status"].is_string() || answer["error"].is_string());
        prop_assert_eq!(answer, evaluate_case(&case));
    }

    #[test]
    fn no_case_whatever_is_in_it_stops_the_program(text in "\\PC{0,20}", decision in 0_usize..11, number in any::<i64>()) {
        let decisions = ["cluster-operations", "targets", "traffic-guards", "resize", "health", "naming", "find-image", "strategies", "rollback", "", "x"];
        let group = json!({"name": text, "region": "r", "capacity": {"min": number, "desired": text, "max": null}, "instances": [{}, null, 3]});
        let input = json!({
            "context": {"action": text, "capacity": {"min": number, "desired": number, "max": text}, "scalePct": number, "scaleNum": number,
                "region": "r", "regions": text, "target": text, "shrinkToSize": number, "kato.tasks": [text, {"id": number}]},
            "serverGroups": [group.clone()], "serverGroup": group, "what": "parse", "name": text, "stageType": "shrinkCluster",
            "kind": "instances", "task": "resizeServerGroup", "check": "WaitForUpInstances",
        });
        let answer = evaluate_case(&json!({"id": 1, "decision": decisions[decision], "input": input}));
        prop_assert!(answer.get("result").is_some() != answer.get("error").is_some());
    }

    #[test]
    fn an_images_name_matches_a_pattern_as_the_regular_expression_it_stands_for(pattern in "[ab.*?-]{0,9}", name in "[ab.é-]{0,9}") {
        let expression = regex::escape(&pattern).replace(r"\*", ".*").replace(r"\?", ".");
        let expected = regex::Regex::new(&format!("^(?:{expression})$")).unwrap().is_match(&name);
        prop_assert_eq!(pattern_matches(&pattern, &name), expected);
    }

    #[test]
    fn the_image_found_is_no_older_than_any_other_that_counts(days in prop::collection::vec((0_u32..28, 0_usize..2, any::<bool>()), 0..12)) {
        let regions = ["us-east-1", "eu-west-1"];
        let images: Vec<TaggedImage> = days.iter().enumerate().map(|(n, (day, region, has_tag))| TaggedImage {
            region: regions[*region].to_owned(),
            id: format!("ami-{n}"),
            name: format!("shop-{n}"),
            state: "available".to_owned(),
            created: format!("2026-01-{day:02}T00:00:00.000Z"),
            tags: has_tag.then(|| ("stack".to_owned(), "prod".to_owned())).into_iter().collect(),
        }).collect();
        let context = json!({"packageName": "shop", "tags": {"stack": "prod"}, "regions": regions});
        let ask = FindImageFromTags::from_context(context.as_object().unwrap(), &[]).unwrap();
        let counts = |image: &&TaggedImage| !image.tags.is_empty();
        match newest_images(&ask, &images) {
            Ok(found) => for image in images.iter().filter(counts) {
                let newest = found.iter().find(|one| one.region == image.region).unwrap();
                prop_assert!(counts(&newest) && newest.created >= image.created);
            },
            Err(_) => prop_assert_eq!(images.iter().filter(counts).count(), 0),
        }
    }
}
