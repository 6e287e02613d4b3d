//! Deployments on the local cloud, driven by the command line and read back from the emulated Auto Scaling and ELB.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use gennaker_tests::executions::{self, until_within};
use gennaker_tests::observed::ended;
use gennaker_tests::{corpus, deploy, file, pipeline, system};
use serde_json::{Value, json};

#[test]
fn a_red_black_release_takes_over_from_the_old_server_group() {
    let approval = json!({ "refId": "1", "type": "manualJudgment", "name": "Ship it?", "requisiteStageRefIds": [] });
    let answer = system().run(
        &pipeline(
            "redblack",
            &[
                approval,
                deploy("2", &["1"], "redblack", "web-v2", &json!({})),
            ],
        ),
        &[],
    );
    ended(&answer, "SUCCEEDED");
    assert_eq!(
        answer.groups("redblack-prod"),
        [
            ("redblack-prod-v000", false, 2),
            ("redblack-prod-v001", true, 2)
        ]
    );
    assert!(answer.summary()["transitions"].as_u64().unwrap() > 5);
}

#[test]
fn branches_run_side_by_side_and_a_join_waits_for_its_own_requisites_only() {
    let wait = |id: &str, after: &[&str]| json!({ "refId": id, "type": "wait", "name": format!("Wait {id}"), "requisiteStageRefIds": after, "waitTime": 2 });
    let approval = json!({ "refId": "2", "type": "manualJudgment", "name": "Ship it?", "requisiteStageRefIds": [] });
    // 5 waits for 1 and 3; 4 for 2 and 3: no nesting of parallels says that. Nobody answers 2 before 5 is over.
    let stages = [
        wait("1", &[]),
        approval,
        wait("3", &[]),
        wait("4", &["2", "3"]),
        wait("5", &["1", "3"]),
    ];
    let config = pipeline("joins", &stages);
    let id = system().start_saved(&config);
    let status = |execution: &Value, ref_id: &str| {
        executions::stage(execution, ref_id)["status"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let between = until_within("the end of 5, which does not wait for 2", 150, || {
        let execution = system().show(&id);
        (status(&execution, "5") == "SUCCEEDED").then_some(execution)
    });
    assert_eq!(
        (status(&between, "2"), status(&between, "4")),
        ("RUNNING".to_owned(), "NOT_STARTED".to_owned())
    );
    system().act(&["judge", &id, "--stage", "2", "continue"]);
    let after = system().settles(&id, 1, "SUCCEEDED");
    let time =
        |ref_id: &str, which: &str| executions::stage(&after, ref_id)[which].as_i64().unwrap();
    assert!(time("4", "startTime") >= time("2", "endTime"), "4 does");
}

#[test]
fn a_judgment_of_stop_fails_the_pipeline_and_nothing_is_deployed() {
    let approval = json!({ "refId": "1", "type": "manualJudgment", "name": "Ship it?", "requisiteStageRefIds": [] });
    let stages = [
        approval,
        deploy("2", &["1"], "stopped", "web-v2", &json!({})),
    ];
    let answer = system().run(&pipeline("stopped", &stages), &["--judgment", "1=stop"]);
    ended(&answer, "TERMINAL");
    assert_eq!(
        (answer.stage("1"), answer.stage("2")),
        ("TERMINAL".to_owned(), "NOT_STARTED".to_owned())
    );
    assert_eq!(
        answer.groups("stopped-prod"),
        [("stopped-prod-v000", true, 2)]
    );
}

#[test]
fn an_image_that_never_becomes_healthy_fails_and_the_old_server_group_serves() {
    let mut stage = deploy("1", &[], "unhealthy", "bad-web-v2", &json!({}));
    stage["stageTimeoutMs"] = json!(8_000);
    let answer = system().run(&pipeline("unhealthy", &[stage]), &[]);
    ended(&answer, "TERMINAL");
    let groups = answer.groups("unhealthy-prod");
    assert_eq!(
        groups.first(),
        Some(&("unhealthy-prod-v000", true, 2)),
        "{answer:#?}"
    );
    assert!(
        groups.iter().skip(1).all(|(_, enabled, _)| !enabled),
        "nothing new takes traffic: {groups:?}"
    );
    assert!(answer.reason().contains("Deploy"), "{answer:#?}");
}

#[test]
fn names_wrap_after_v999_as_spinnakers_do() {
    let world = json!({
        "clusters": [{ "account": "prod", "region": "us-east-1", "name": "wrap-prod", "serverGroups": [
            { "name": "wrap-prod-v998", "image": "web-v1", "capacity": 1, "enabled": true, "targetGroups": ["wrap-prod"] },
        ] }],
        "images": [{ "name": "bad-*", "healthy": false, "bootSeconds": 1 }, { "name": "web-v1" }, { "name": "*", "bootSeconds": 1 }],
    });
    let world = file(&world);
    let stages = [
        deploy("1", &[], "wrap", "web-v2", &json!({})),
        deploy(
            "2",
            &["1"],
            "wrap",
            "web-v3",
            &json!({ "maxRemainingAsgs": 3 }),
        ),
    ];
    let answer = system().run(
        &pipeline("wrap", &stages),
        &["--world", world.to_str().unwrap()],
    );
    ended(&answer, "SUCCEEDED");
    let groups = answer.groups("wrap-prod");
    let found: Vec<&str> = groups.iter().map(|(name, ..)| *name).collect();
    assert_eq!(
        found,
        ["wrap-prod-v998", "wrap-prod-v999", "wrap-prod-v000"]
    );
    assert_eq!(groups.last(), Some(&("wrap-prod-v000", true, 2)));
}

#[test]
fn the_same_image_event_three_times_starts_one_execution() {
    let system = system();
    let repository = "events/web";
    let mut pipeline = pipeline(
        "events",
        &[json!({ "refId": "1", "type": "wait", "waitTime": 1, "requisiteStageRefIds": [] })],
    );
    pipeline["triggers"] = json!([{
        "type": "docker", "enabled": true, "account": "ecr", "registry": "123456789012.dkr.ecr.us-east-1.amazonaws.com",
        "organization": "events", "repository": repository, "tag": "v.*",
    }]);
    // The repository is created first, as a pipeline that is run has it.
    system.cloud.seed_for_pipeline(&pipeline, false).unwrap();
    system.save(&pipeline);
    let mut event = system
        .cloud
        .push_image(repository, "v7", "content")
        .unwrap();
    event["id"] = json!("6a7e8feb-b491-4cf7-a9f1-bf3703467718");
    for _ in 0..3 {
        system.cloud.put_event(&event, "default").unwrap();
    }
    let _ = system.the_one("events", "release events");
}

#[test]
fn a_deploy_without_an_image_says_where_one_could_come_from() {
    let mut stage = deploy("1", &[], "imageless", "", &json!({}));
    stage["clusters"][0]
        .as_object_mut()
        .unwrap()
        .remove("amiName");
    let answer = system().run(&pipeline("imageless", &[stage]), &[]);
    ended(&answer, "TERMINAL");
    let reason = answer.reason();
    assert!(
        reason.contains("no image for us-east-1") && reason.contains("no earlier stage"),
        "{reason}"
    );
    assert!(
        answer.said.contains("no image for us-east-1"),
        "{answer:#?}"
    );
    assert_eq!(
        answer.groups("imageless-prod"),
        [("imageless-prod-v000", true, 2)]
    );
}

#[test]
fn files_with_the_same_id_run_in_one_cloud() {
    let wait = json!({ "refId": "1", "type": "wait", "waitTime": 1, "requisiteStageRefIds": [] });
    for application in ["copied", "copy"] {
        let mut pipeline = pipeline(application, std::slice::from_ref(&wait));
        pipeline["id"] = json!("the-same");
        ended(&system().run(&pipeline, &[]), "SUCCEEDED");
    }
}

#[test]
fn an_unknown_account_is_refused_with_those_that_exist() {
    let system = system();
    let saved = system.gennaker(&[
        "account",
        "save",
        "--name",
        "known",
        "--account-id",
        "123456789012",
        "--role",
        "role/deployer",
        "--region",
        "us-east-1",
        "--json",
    ]);
    assert_eq!(saved.status, 0, "{saved:#?}");
    let listed = system.gennaker(&["account", "list", "--json"]);
    let known = json!({ "name": "known", "type": "aws", "accountId": "123456789012",
        "assumeRole": "arn:aws:iam::123456789012:role/deployer", "regions": ["us-east-1"] });
    assert!(
        listed.lines[0].as_array().unwrap().contains(&known),
        "{listed:#?}"
    );

    // Saving on AWS: what the settings do not call a local cloud.
    let stage = deploy(
        "1",
        &[],
        "unknown",
        "web-v2",
        &json!({ "account": "unheard-of" }),
    );
    let unknown = file(&pipeline("unknown", &[stage]));
    let refused =
        system.gennaker_on_aws(&["pipeline", "save", unknown.to_str().unwrap(), "--json"]);
    assert_eq!(refused.status, 2, "{refused:#?}");
    let problem = &refused.summary()["problems"][0];
    assert_eq!(
        (&problem["code"], &problem["stage"], &problem["path"]),
        (
            &json!("unknown-account"),
            &json!("1"),
            &json!("$.stages[0].clusters[0].account")
        )
    );
    let hint = problem["hint"].as_str().unwrap();
    assert!(
        hint.contains("known") && hint.contains("gennaker account save --name unheard-of"),
        "{hint}"
    );

    // A name that only the run knows.
    let mut later = pipeline(
        "unknown",
        &[json!({
            "refId": "1", "type": "disableCluster", "requisiteStageRefIds": [], "cluster": "unknown-prod", "cloudProvider": "aws",
            "regions": ["us-east-1"], "credentials": "${trigger['user'] + '-account'}", "remainingEnabledServerGroups": 1,
        })],
    );
    later["name"] = json!("later");
    let answer = system.run(&later, &[]);
    assert_eq!(answer.status, 1, "{answer:#?}");
    let reason = answer.reason();
    assert!(
        reason.contains("-account` is not known here, known are") && reason.contains("known"),
        "{reason}"
    );
}

#[test]
fn pipelines_that_other_people_wrote_run() {
    let Some(corpus) = corpus() else {
        println!("skipped: no corpus");
        return;
    };
    // AWS pipelines and provider-independent ones, of stages of this release only.
    let files = [
        "230-spring-petclinic-spinnaker-deploy-to-staging.json",
        "029-echo-pipelines-deploy-to-test-prestaging.json",
        "086-dinghy-repo-dinghyfile-pipeline50.json",
    ];
    for file in files {
        let path = corpus.join("pipelines").join(file);
        let answer = system().gennaker(&[
            "local",
            "run",
            &path.to_string_lossy(),
            "--json",
            "--approve",
            "--wait-scale",
            "0.05",
            "--time-limit",
            "3m",
        ]);
        assert_eq!(answer.status, 0, "{file}: {answer:#?}");
        for cluster in answer.summary()["clusters"].as_array().unwrap() {
            let groups = cluster["serverGroups"].as_array().unwrap();
            let newest = groups.last().unwrap();
            assert!(newest["enabled"].as_bool().unwrap(), "{file}: {cluster:#}");
            assert_eq!(
                newest["healthy"], newest["capacity"]["desired"],
                "{file}: {cluster:#}"
            );
        }
    }
}
