//! What a deployment sees of EC2, Auto Scaling and load balancing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gennaker_local::{LocalCloud, Options, Silent, World};
use serde_json::{Value, json};

const WORLD: &str = r#"{
  "bootSeconds": 1.5,
  "images": [
    {"name": "shop-2.0.0", "healthy": false, "bootSeconds": 0.2},
    {"name": "slow-*", "degraded": true, "metrics": {"Latency": {"badMean": 900}}},
    {"name": "shop-1.0.0", "tags": {"appversion": "shop-1.0.0-h1"}}
  ],
  "clusters": [
    {"account": "prod", "name": "shop-prod", "serverGroups": [
      {"name": "shop-prod-v998", "image": "shop-1.0.0", "capacity": 2, "enabled": false, "targetGroups": ["shop"]},
      {"name": "shop-prod-v999", "image": "shop-1.0.0", "capacity": {"min": 1, "desired": 2, "max": 4}, "targetGroups": ["shop"]}
    ]}
  ]
}"#;

/// One cloud for this test binary; each test has server groups of its own.
fn cloud() -> &'static LocalCloud {
    static CLOUD: OnceLock<LocalCloud> = OnceLock::new();
    CLOUD.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let cloud = LocalCloud::start(&Options::new(target), &Silent).unwrap();
        cloud
            .seed(&World::parse(WORLD, "the test's world").unwrap())
            .unwrap();
        cloud
    })
}

fn scaling(operation: &str, parameters: Value) -> Value {
    cloud().call("autoscaling", operation, parameters).unwrap()
}

fn refused(service: &str, operation: &str, parameters: Value) -> String {
    cloud()
        .call(service, operation, parameters)
        .unwrap_err()
        .to_string()
}

fn image(name: &str) -> String {
    let filter = json!({"Filters": [{"Name": "name", "Values": [name]}]});
    let images = cloud().call("ec2", "describe_images", filter).unwrap();
    match images["Images"][0]["ImageId"].as_str() {
        Some(id) => id.to_owned(),
        None => {
            let made = cloud()
                .call("ec2", "register_image", json!({"Name": name}))
                .unwrap();
            made["ImageId"].as_str().unwrap().to_owned()
        }
    }
}

fn target_group(name: &str) -> String {
    let vpcs = cloud().call("ec2", "describe_vpcs", json!({})).unwrap();
    let made = cloud().call(
        "elbv2",
        "create_target_group",
        json!({"Name": name, "Protocol": "HTTP", "Port": 80, "VpcId": vpcs["Vpcs"][0]["VpcId"]}),
    );
    made.unwrap()["TargetGroups"][0]["TargetGroupArn"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Creates a server group of that image and size in a target group of its own, whose ARN it returns.
fn create(name: &str, image_name: &str, size: u32) -> String {
    let target = target_group(name);
    let template =
        json!({"LaunchTemplateName": name, "LaunchTemplateData": {"ImageId": image(image_name)}});
    cloud()
        .call("ec2", "create_launch_template", template)
        .unwrap();
    scaling(
        "create_auto_scaling_group",
        json!({
            "AutoScalingGroupName": name, "MinSize": 0, "MaxSize": 4, "DesiredCapacity": size,
            "LaunchTemplate": {"LaunchTemplateName": name, "Version": "1"},
            "AvailabilityZones": ["us-east-1a"], "TargetGroupARNs": [target],
        }),
    );
    target
}

fn instances(group: &str) -> Vec<Value> {
    let answer = scaling(
        "describe_auto_scaling_groups",
        json!({"AutoScalingGroupNames": [group]}),
    );
    answer["AutoScalingGroups"][0]["Instances"]
        .as_array()
        .unwrap()
        .clone()
}

fn states(group: &str) -> Vec<String> {
    let state = |i: &Value| {
        format!(
            "{}/{}",
            i["LifecycleState"].as_str().unwrap(),
            i["HealthStatus"].as_str().unwrap()
        )
    };
    instances(group).iter().map(state).collect()
}

fn health(target: &str) -> Vec<String> {
    let answer = cloud()
        .call(
            "elbv2",
            "describe_target_health",
            json!({"TargetGroupArn": target}),
        )
        .unwrap();
    let state = |d: &Value| d["TargetHealth"]["State"].as_str().unwrap().to_owned();
    answer["TargetHealthDescriptions"]
        .as_array()
        .unwrap()
        .iter()
        .map(state)
        .collect()
}

fn eventually(what: &str, check: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !check() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn instances_are_pending_for_the_boot_time_of_their_image_and_then_take_traffic() {
    let begun = Instant::now();
    let target = create("boot-v000", "boot-1", 2);
    assert_eq!(states("boot-v000"), ["Pending/Healthy", "Pending/Healthy"]);
    assert_eq!(
        health(&target),
        Vec::<String>::new(),
        "registered when in service"
    );
    eventually("both are in service", || {
        states("boot-v000") == ["InService/Healthy", "InService/Healthy"]
    });
    assert!(begun.elapsed() >= Duration::from_millis(1500));
    assert_eq!(health(&target), ["healthy", "healthy"]);
}

#[test]
fn instances_of_a_bad_image_boot_but_never_become_healthy() {
    let target = create("bad-v000", "shop-2.0.0", 1);
    eventually("it boots", || states("bad-v000") == ["InService/Unhealthy"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(states("bad-v000"), ["InService/Unhealthy"]);
    assert_eq!(health(&target), ["unhealthy"]);
}

#[test]
fn a_disabled_group_gets_no_traffic_back_when_its_size_changes() {
    let target = create("off-v000", "off-1", 1);
    eventually("it serves", || health(&target) == ["healthy"]);
    let id = instances("off-v000")[0]["InstanceId"].clone();
    scaling(
        "suspend_processes",
        json!({"AutoScalingGroupName": "off-v000", "ScalingProcesses": ["AddToLoadBalancer"]}),
    );
    cloud()
        .call(
            "elbv2",
            "deregister_targets",
            json!({"TargetGroupArn": target, "Targets": [{"Id": id}]}),
        )
        .unwrap();
    scaling(
        "set_desired_capacity",
        json!({"AutoScalingGroupName": "off-v000", "DesiredCapacity": 2}),
    );
    eventually("both are in service", || {
        states("off-v000") == ["InService/Healthy"; 2]
    });
    assert_eq!(health(&target), Vec::<String>::new());
    // On AWS as well: what came up meanwhile has to be registered by hand.
    scaling(
        "resume_processes",
        json!({"AutoScalingGroupName": "off-v000"}),
    );
    assert_eq!(health(&target), Vec::<String>::new());
}

#[test]
fn suspended_launch_and_terminate_are_obeyed_until_they_are_resumed() {
    create("still-v000", "still-1", 1);
    let name = json!({"AutoScalingGroupName": "still-v000"});
    scaling("suspend_processes", name.clone());
    scaling(
        "set_desired_capacity",
        json!({"AutoScalingGroupName": "still-v000", "DesiredCapacity": 3}),
    );
    assert_eq!(instances("still-v000").len(), 1);
    scaling(
        "set_desired_capacity",
        json!({"AutoScalingGroupName": "still-v000", "DesiredCapacity": 0}),
    );
    assert_eq!(instances("still-v000").len(), 1);
    scaling("resume_processes", name);
    assert_eq!(instances("still-v000").len(), 0);
}

#[test]
fn terminated_instances_leave_the_target_group_and_a_group_is_deleted_only_by_force() {
    let target = create("gone-v000", "gone-1", 2);
    eventually("both serve", || health(&target) == ["healthy", "healthy"]);
    scaling(
        "set_desired_capacity",
        json!({"AutoScalingGroupName": "gone-v000", "DesiredCapacity": 1}),
    );
    assert_eq!(health(&target), ["healthy"]);
    let error = refused(
        "autoscaling",
        "delete_auto_scaling_group",
        json!({"AutoScalingGroupName": "gone-v000"}),
    );
    assert!(error.contains("ResourceInUse"), "{error}");
    // Suspended processes do not stop a forced deletion.
    scaling(
        "suspend_processes",
        json!({"AutoScalingGroupName": "gone-v000"}),
    );
    scaling(
        "delete_auto_scaling_group",
        json!({"AutoScalingGroupName": "gone-v000", "ForceDelete": true}),
    );
    assert_eq!(health(&target), Vec::<String>::new());
    let error = refused(
        "autoscaling",
        "suspend_processes",
        json!({"AutoScalingGroupName": "gone-v000"}),
    );
    assert!(error.contains("ValidationError"), "{error}");
}

#[test]
fn requests_that_aws_refuses_are_refused() {
    create("strict-v000", "strict-1", 0);
    let again = json!({
        "AutoScalingGroupName": "strict-v000", "MinSize": 0, "MaxSize": 1, "AvailabilityZones": ["us-east-1a"],
        "LaunchTemplate": {"LaunchTemplateName": "strict-v000", "Version": "1"},
    });
    let error = refused("autoscaling", "create_auto_scaling_group", again);
    assert!(error.contains("AlreadyExists"), "{error}");
    let above = json!({"AutoScalingGroupName": "strict-v000", "DesiredCapacity": 5});
    let error = refused("autoscaling", "set_desired_capacity", above.clone());
    assert!(error.contains("above max value 4"), "{error}");
    let error = refused("autoscaling", "update_auto_scaling_group", above);
    assert!(error.contains("must be between"), "{error}");
}

#[test]
fn a_repeated_request_is_recognised_by_its_client_token() {
    let request = json!({"LaunchTemplateName": "twice", "ClientToken": "execution-1", "LaunchTemplateData": {"ImageId": image("twice-1")}});
    let first = cloud()
        .call("ec2", "create_launch_template", request.clone())
        .unwrap();
    let second = cloud()
        .call("ec2", "create_launch_template", request)
        .unwrap();
    assert_eq!(
        first["LaunchTemplate"]["LaunchTemplateId"],
        second["LaunchTemplate"]["LaunchTemplateId"]
    );
    let other = json!({"LaunchTemplateName": "twice", "ClientToken": "execution-2", "LaunchTemplateData": {"ImageId": image("twice-1")}});
    let error = refused("ec2", "create_launch_template", other);
    assert!(error.contains("AlreadyExists"), "{error}");
}

#[test]
fn an_unknown_target_group_is_refused_and_changes_nothing() {
    let target = create("attach-v000", "attach-1", 1);
    let unknown = format!("{target}x");
    let attach = json!({"AutoScalingGroupName": "attach-v000", "TargetGroupARNs": [unknown]});
    let error = refused("autoscaling", "attach_load_balancer_target_groups", attach);
    assert!(error.contains("ValidationError"), "{error}");
    eventually("the group serves as before", || {
        health(&target) == ["healthy"]
    });
    // Detached and attached again, its instance takes traffic again.
    let known = json!({"AutoScalingGroupName": "attach-v000", "TargetGroupARNs": [target]});
    scaling("detach_load_balancer_target_groups", known.clone());
    assert_eq!(health(&target), Vec::<String>::new());
    scaling("attach_load_balancer_target_groups", known);
    assert_eq!(health(&target), ["healthy"]);
}

#[test]
fn lifecycle_hooks_given_at_creation_are_there_and_a_stopped_instance_is_unhealthy() {
    create("hook-v000", "hook-1", 0);
    scaling(
        "create_auto_scaling_group",
        json!({
            "AutoScalingGroupName": "hook-v001", "MinSize": 0, "MaxSize": 1, "DesiredCapacity": 1,
            "LaunchTemplate": {"LaunchTemplateName": "hook-v000", "Version": "1"}, "AvailabilityZones": ["us-east-1a"],
            "LifecycleHookSpecificationList": [
                {"LifecycleHookName": "drain", "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING"}
            ],
        }),
    );
    let hooks = scaling(
        "describe_lifecycle_hooks",
        json!({"AutoScalingGroupName": "hook-v001"}),
    );
    assert_eq!(hooks["LifecycleHooks"][0]["LifecycleHookName"], "drain");
    eventually("it is in service", || {
        states("hook-v001") == ["InService/Healthy"]
    });
    let id = instances("hook-v001")[0]["InstanceId"].clone();
    cloud()
        .call("ec2", "stop_instances", json!({"InstanceIds": [id]}))
        .unwrap();
    eventually("the group notices", || {
        states("hook-v001") == ["InService/Unhealthy"]
    });
}

fn classic_load_balancer(name: &str) {
    let listener = json!({"Protocol": "HTTP", "LoadBalancerPort": 80, "InstanceProtocol": "HTTP", "InstancePort": 80});
    let balancer = json!({"LoadBalancerName": name, "Listeners": [listener], "AvailabilityZones": ["us-east-1a"]});
    cloud()
        .call("elb", "create_load_balancer", balancer)
        .unwrap();
}

#[test]
fn classic_load_balancers_follow_the_same_rules() {
    classic_load_balancer("classic");
    create("classic-v000", "classic-1", 1);
    let attach = json!({"AutoScalingGroupName": "classic-v000", "LoadBalancerNames": ["classic"]});
    scaling("attach_load_balancers", attach);
    let registered = || {
        let answer = cloud()
            .call(
                "elb",
                "describe_load_balancers",
                json!({"LoadBalancerNames": ["classic"]}),
            )
            .unwrap();
        answer["LoadBalancerDescriptions"][0]["Instances"]
            .as_array()
            .unwrap()
            .clone()
    };
    assert_eq!(registered().len(), 0, "not while it boots");
    eventually("it is registered", || registered().len() == 1);
    scaling(
        "suspend_processes",
        json!({"AutoScalingGroupName": "classic-v000", "ScalingProcesses": ["AddToLoadBalancer"]}),
    );
    let deregister = json!({"LoadBalancerName": "classic", "Instances": registered()});
    cloud()
        .call("elb", "deregister_instances_from_load_balancer", deregister)
        .unwrap();
    scaling(
        "set_desired_capacity",
        json!({"AutoScalingGroupName": "classic-v000", "DesiredCapacity": 2}),
    );
    eventually("both are in service", || {
        states("classic-v000") == ["InService/Healthy"; 2]
    });
    assert_eq!(registered().len(), 0);
}

#[test]
fn a_classic_load_balancer_says_of_a_bad_image_why_its_instance_is_out() {
    classic_load_balancer("checked");
    let said = || {
        let asked = json!({"LoadBalancerName": "checked"});
        let answer = cloud().call("elb", "describe_instance_health", asked);
        let states = answer.unwrap()["InstanceStates"]
            .as_array()
            .unwrap()
            .clone();
        let said =
            |state: &Value| [&state["State"], &state["Description"]].map(ToString::to_string);
        let mut said: Vec<String> = states.iter().map(|state| said(state).join(" ")).collect();
        said.sort();
        said
    };
    for (group, image) in [
        ("checked-v000", "classic-1"),
        ("checked-v001", "shop-2.0.0"),
    ] {
        create(group, image, 1);
        let attach = json!({"AutoScalingGroupName": group, "LoadBalancerNames": ["checked"]});
        scaling("attach_load_balancers", attach);
    }
    let sentence = "Instance has failed at least the UnhealthyThreshold number of health checks consecutively.";
    eventually("both are checked", || {
        said()
            == [
                r#""InService" "N/A""#.to_owned(),
                format!(r#""OutOfService" "{sentence}""#),
            ]
    });
    let unknown = json!({"LoadBalancerName": "unknown"});
    let error = refused("elb", "describe_instance_health", unknown);
    assert!(error.contains("LoadBalancerNotFound"), "{error}");
}

#[test]
fn a_seeded_world_reads_back_as_it_was_written() {
    let clusters = cloud().clusters().unwrap();
    let shop = clusters
        .iter()
        .find(|cluster| cluster.name == "shop-prod")
        .unwrap();
    let shown: Vec<_> = shop
        .server_groups
        .iter()
        .map(|group| {
            (
                group.name.as_str(),
                group.capacity.bounds(),
                group.enabled,
                group.healthy,
                group.in_traffic["shop"],
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("shop-prod-v998", (2, 2, 2), false, 2, 0),
            ("shop-prod-v999", (1, 2, 4), true, 2, 2)
        ]
    );
    assert_eq!(shop.server_groups[0].image, image("shop-1.0.0"));
    assert_eq!(
        cloud()
            .seed(&World::parse(WORLD, "again").unwrap())
            .unwrap(),
        []
    );
}

#[test]
fn runs_that_seed_at_the_same_moment_do_not_get_in_each_others_way() {
    // Each by a process of its own, as by `local run`; they share subnets, groups and images.
    let python = cloud().python();
    let mut runs: Vec<_> = (0..6)
        .map(|_| {
            let mut process = Command::new(python.bin().join("python"))
                .arg(python.scripts().join("cloud.py"))
                .envs(cloud().environment())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let answers = BufReader::new(process.stdout.take().unwrap());
            (process.stdin.take().unwrap(), answers, process)
        })
        .collect();
    let answer = |answers: &mut BufReader<ChildStdout>| {
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        line
    };
    let vpcs = json!({"operation": "call", "arguments": {
        "service": "ec2", "operation": "describe_vpcs", "parameters": {}, "region": "eu-west-1"
    }});
    for (input, answers, _) in &mut runs {
        writeln!(input, "{vpcs}").unwrap();
        assert!(answer(answers).contains("result"));
    }
    // Now all of them are there, and begin at one moment.
    for (run, (input, _, _)) in runs.iter_mut().enumerate() {
        let application = format!("rush{run}");
        let pipeline = json!({"application": application, "stages": [{"type": "deploy", "clusters": [{
            "account": "prod", "application": application, "stack": "prod", "subnetType": "rush",
            "availabilityZones": {"eu-west-1": []}, "securityGroups": ["rush"], "targetGroups": ["rush"],
            "keyPair": "rush", "capacity": {"min": 1, "desired": 1, "max": 1}, "amiName": "rush-1"
        }]}]});
        let call = json!({"operation": "seed_pipeline", "arguments": {"pipeline": pipeline}});
        writeln!(input, "{call}").unwrap();
    }
    for (input, mut answers, mut process) in runs {
        let seeded = answer(&mut answers);
        assert!(seeded.contains("\"result\""), "{seeded}");
        drop(input);
        process.wait().unwrap();
    }
    let named = json!({"Names": ["rush"]});
    let groups = cloud()
        .call_in("eu-west-1", "elbv2", "describe_target_groups", named)
        .unwrap();
    assert_eq!(groups["TargetGroups"].as_array().unwrap().len(), 1);
}

#[test]
fn what_a_pipeline_names_is_created_once_under_the_ids_it_uses() {
    let pipeline = json!({"application": "petshop", "triggers": [
        {"type": "docker", "registry": "1.dkr.ecr.us-east-1.amazonaws.com", "repository": "petshop/api"}
    ], "stages": [
        {"type": "findImageFromTags", "packageName": "petshop", "tags": {"stack": "test", "skipped": "${x}"}, "regions": ["us-west-2"]},
        {"type": "deploy", "clusters": [{
            "account": "anything", "application": "petshop", "stack": "staging", "freeFormDetails": "",
            "availabilityZones": {"us-west-2": ["us-west-2a", "us-west-2b"]}, "subnetType": "external (vpc0)",
            "securityGroups": ["sg-0f89b9be78a1cbf4c", "web"], "targetGroups": ["petshop-tg"], "loadBalancers": ["petshop-elb"],
            "capacity": {"min": 1, "desired": 2, "max": 3}, "imageId": "ami-039965b6f048fd074"
        }]}
    ]});
    let created = cloud().seed_for_pipeline(&pipeline, true).unwrap();
    let has = |kind: &str, name: &str| {
        created
            .iter()
            .any(|one| one.kind == kind && one.name == name)
    };
    for (kind, name) in [
        ("security group", "sg-0f89b9be78a1cbf4c"),
        ("security group", "web"),
        ("subnet", "external (vpc0) in us-west-2a"),
        ("subnet", "external (vpc0) in us-west-2b"),
        ("target group", "petshop-tg"),
        ("load balancer", "petshop-elb"),
        ("image", "ami-039965b6f048fd074"),
        ("image", "petshop-1.0.0-h1-x86_64-local"),
        ("server group", "petshop-staging-v000"),
        ("repository", "petshop/api"),
    ] {
        assert!(has(kind, name), "{kind} {name} in {created:#?}");
    }
    let groups = cloud()
        .call_in(
            "us-west-2",
            "ec2",
            "describe_security_groups",
            json!({"GroupIds": ["sg-0f89b9be78a1cbf4c"]}),
        )
        .unwrap();
    assert_eq!(
        groups["SecurityGroups"][0]["GroupId"],
        "sg-0f89b9be78a1cbf4c"
    );
    let images = cloud()
        .call_in(
            "us-west-2",
            "ec2",
            "describe_images",
            json!({"ImageIds": ["ami-039965b6f048fd074"]}),
        )
        .unwrap();
    assert_eq!(images["Images"][0]["ImageId"], "ami-039965b6f048fd074");
    let clusters = cloud().clusters().unwrap();
    let cluster = clusters
        .iter()
        .find(|cluster| cluster.name == "petshop-staging")
        .unwrap();
    assert_eq!(
        (cluster.region.as_str(), cluster.server_groups[0].healthy),
        ("us-west-2", 2)
    );
    assert_eq!(cloud().seed_for_pipeline(&pipeline, true).unwrap(), []);
}

#[test]
fn of_images_made_in_one_second_the_later_is_newer_and_one_that_fits_is_not_made_again() {
    let ec2 = |call: &str, parameters: Value| {
        cloud()
            .call_in("us-east-1", "ec2", call, parameters)
            .unwrap()
    };
    for name in ["aged-1", "aged-2", "aged-3"] {
        let made = ec2("register_image", json!({"Name": name}));
        let tags =
            json!({"Resources": [made["ImageId"]], "Tags": [{"Key": "Stack", "Value": "Prod"}]});
        ec2("create_tags", tags);
    }
    let filters = json!({"Filters": [{"Name": "name", "Values": ["aged-*"]}]});
    let answer = ec2("describe_images", filters);
    let images = answer["Images"].as_array().unwrap().iter();
    let mut images: Vec<(&str, &str)> = images
        .map(|image| {
            let text = |key: &str| image[key].as_str().unwrap();
            (text("CreationDate"), text("Name"))
        })
        .collect();
    images.sort_unstable();
    let names: Vec<&str> = images.iter().map(|(_, name)| *name).collect();
    assert_eq!(names, ["aged-1", "aged-2", "aged-3"], "{images:?}");
    assert!(
        images.windows(2).all(|two| two[0].0 < two[1].0),
        "{images:?}"
    );
    let made = |tags: Value| {
        let stage = json!({"type": "findImageFromTags", "packageName": "aged", "tags": tags, "regions": ["us-east-1"]});
        let pipeline = json!({"application": "aged", "stages": [stage]});
        let created = cloud().seed_for_pipeline(&pipeline, true).unwrap();
        created.into_iter().map(|one| one.name).collect::<Vec<_>>()
    };
    assert_eq!(made(json!({"stack": "prod"})), [""; 0]);
    assert_eq!(
        made(json!({"stack": "test"})),
        ["aged-1.0.0-h1-x86_64-local"]
    );
    assert_eq!(made(json!({"stack": "test"})), [""; 0]);
}

/// The minutes' averages of a metric of a group.
fn averages(namespace: &str, metric: &str, group: &str) -> Vec<f64> {
    let query = json!({
        "StartTime": "2020-01-01T00:00:00Z", "EndTime": "2100-01-01T00:00:00Z",
        "MetricDataQueries": [{"Id": "m", "MetricStat": {"Period": 60, "Stat": "Average", "Metric": {
            "Namespace": namespace, "MetricName": metric,
            "Dimensions": [{"Name": "AutoScalingGroupName", "Value": group}]}}}],
    });
    let answer = cloud()
        .call("cloudwatch", "get_metric_data", query)
        .unwrap();
    let values = answer["MetricDataResults"][0]["Values"]
        .as_array()
        .unwrap()
        .clone();
    values.iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn a_canary_finds_an_hour_of_metrics_for_a_group_that_serves() {
    eventually("an hour of values", || {
        let values = averages("AWS/EC2", "CPUUtilization", "shop-prod-v999");
        values.len() >= 60 && values.iter().all(|value| (15.0..55.0).contains(value))
    });
}

#[test]
fn a_degraded_image_is_healthy_and_only_its_metrics_tell() {
    create("slow-v000", "slow-1", 1);
    eventually("bad values", || {
        let errors = averages("Gennaker/Local", "ErrorRate", "slow-v000");
        let latency = averages("Gennaker/Local", "Latency", "slow-v000");
        !errors.is_empty()
            && errors.iter().all(|value| *value > 5.0)
            && latency.iter().all(|value| *value > 800.0)
    });
    assert_eq!(states("slow-v000"), ["InService/Healthy"]);
}
