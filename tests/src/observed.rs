//! What is in the emulated account, and what the system says of its executions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::executions::until_within;
use crate::{Answer, System};

/// A server group as Auto Scaling and ELB show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Name.
    pub name: String,
    /// In traffic.
    pub enabled: bool,
    /// Fewest, wanted, most.
    pub capacity: (u32, u32, u32),
    /// Instances in service and healthy.
    pub healthy: u32,
    /// Of them healthy in its target groups.
    pub in_traffic: u32,
}

/// A server group in traffic with all its instances.
#[must_use]
pub fn serving(name: &str, capacity: (u32, u32, u32)) -> Left {
    Left {
        name: name.to_owned(),
        enabled: true,
        capacity,
        healthy: capacity.1,
        in_traffic: capacity.1,
    }
}

/// A server group out of traffic whose instances run.
#[must_use]
pub fn idle(name: &str, capacity: (u32, u32, u32)) -> Left {
    Left {
        enabled: false,
        in_traffic: 0,
        ..serving(name, capacity)
    }
}

/// Asserts how a run ended: its status, and the command's exit status with it.
///
/// # Panics
/// If it ended otherwise.
pub fn ended(answer: &Answer, status: &str) {
    let exit = i32::from(status != "SUCCEEDED");
    assert_eq!(
        (answer.status, answer.summary()["status"].as_str()),
        (exit, Some(status)),
        "{answer:#?}"
    );
}

impl System {
    /// The server groups of a cluster, oldest first, in us-east-1.
    #[must_use]
    pub fn groups(&self, cluster: &str) -> Vec<Left> {
        self.groups_in("us-east-1", cluster)
    }

    /// The server groups of a cluster in a region, oldest first.
    #[must_use]
    pub fn groups_in(&self, region: &str, cluster: &str) -> Vec<Left> {
        let clusters = self.cloud.clusters().unwrap();
        clusters
            .into_iter()
            .filter(|found| found.name == cluster && found.region == region)
            .flat_map(|found| found.server_groups)
            .map(|group| Left {
                enabled: group.enabled,
                capacity: group.capacity.bounds(),
                healthy: group.healthy,
                in_traffic: group.in_traffic.values().sum(),
                name: group.name,
            })
            .collect()
    }

    /// Asserts that the cluster's groups are these, and that nothing else of the cluster is left: no instance without
    /// its group, none too many in one, no launch template but the cluster's own, and in it so many versions: one for each
    /// group that was created and not undone.
    ///
    /// # Panics
    /// If something else is there.
    pub fn is_left_in(&self, region: &str, cluster: &str, expected: &[Left], versions: usize) {
        let groups = self.groups_in(region, cluster);
        assert_eq!(groups, expected, "{cluster} in {region}");
        let call = |operation: &str, parameters: Value| {
            self.cloud
                .call_in(region, "ec2", operation, parameters)
                .unwrap()
        };
        let filter = json!([
            { "Name": "tag:aws:autoscaling:groupName", "Values": [format!("{cluster}-v*")] },
            { "Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"] },
        ]);
        let answer = call("describe_instances", json!({ "Filters": filter }));
        let mut instances: BTreeMap<String, u32> = BTreeMap::new();
        for instance in answer["Reservations"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|reservation| reservation["Instances"].as_array().unwrap())
        {
            let tags = instance["Tags"].as_array().unwrap();
            let group = tags
                .iter()
                .find(|tag| tag["Key"] == "aws:autoscaling:groupName");
            let name = group.unwrap()["Value"].as_str().unwrap().to_owned();
            *instances.entry(name).or_default() += 1;
        }
        let wanted: BTreeMap<String, u32> = groups
            .iter()
            .filter(|group| group.capacity.1 > 0)
            .map(|group| (group.name.clone(), group.capacity.1))
            .collect();
        assert_eq!(instances, wanted, "instances of {cluster} in {region}");
        let own = format!("gennaker-{cluster}");
        let templates: BTreeSet<String> = self
            .templates(region)
            .into_iter()
            .filter(|name| name.starts_with(&own))
            .collect();
        if versions == 0 {
            assert_eq!(templates, BTreeSet::new(), "{cluster} in {region}");
            return;
        }
        assert_eq!(
            templates,
            BTreeSet::from([own.clone()]),
            "{cluster} in {region}"
        );
        let answer = call(
            "describe_launch_template_versions",
            json!({ "LaunchTemplateName": own }),
        );
        let there = answer["LaunchTemplateVersions"].as_array().unwrap().len();
        assert_eq!(there, versions, "versions of {own} in {region}");
    }

    /// The names of all launch templates, which the emulator gives in one page.
    fn templates(&self, region: &str) -> BTreeSet<String> {
        let all = json!({ "MaxResults": 200 });
        let answer = self
            .cloud
            .call_in(region, "ec2", "describe_launch_templates", all)
            .unwrap();
        let found = answer["LaunchTemplates"].as_array().unwrap().iter();
        found
            .filter_map(|one| one["LaunchTemplateName"].as_str())
            .map(str::to_owned)
            .collect()
    }

    /// [`Self::is_left_in`] us-east-1.
    pub fn is_left(&self, cluster: &str, expected: &[Left], versions: usize) {
        self.is_left_in("us-east-1", cluster, expected, versions);
    }

    /// Makes what the pipeline names, its clusters' old server groups too, and saves it.
    ///
    /// # Panics
    /// If it is refused.
    pub fn prepare(&self, pipeline: &Value) {
        self.cloud.seed_for_pipeline(pipeline, true).unwrap();
        self.save(pipeline);
    }

    /// Saves a pipeline and starts it; the execution's id.
    ///
    /// # Panics
    /// If it is refused.
    #[must_use]
    pub fn start_saved(&self, pipeline: &Value) -> String {
        self.prepare(pipeline);
        let text = |name: &str| pipeline[name].as_str().unwrap();
        let reference = format!("{}/{}", text("application"), text("name"));
        self.start_execution(&reference, &[])
    }

    /// Acts on an execution by the command line: `["cancel", ID, …]`.
    ///
    /// # Panics
    /// If the command fails.
    pub fn act(&self, arguments: &[&str]) {
        let answer = self.gennaker(&[&["execution"], arguments].concat());
        assert_eq!(answer.status, 0, "{arguments:?}: {answer:#?}");
    }

    /// Waits until an execution is settled in a run after `run`, and asserts its status.
    ///
    /// # Panics
    /// If it ends otherwise, or not in time.
    pub fn settles(&self, id: &str, run: u32, status: &str) -> Value {
        let seen = until_within("the execution is settled", 120, || {
            let seen = self.show(id);
            let current: u32 = seen["run"]
                .as_str()
                .and_then(|run| run.rsplit('-').next()?.parse().ok())
                .unwrap_or(0);
            let over = !matches!(
                seen["status"].as_str(),
                Some("RUNNING" | "PAUSED" | "NOT_STARTED")
            );
            (current >= run && over).then_some(seen)
        });
        assert_eq!(seen["status"], status, "{seen:#}");
        seen
    }

    /// What `execution explain` says, as JSON.
    ///
    /// # Panics
    /// If the command fails.
    #[must_use]
    pub fn explained(&self, id: &str) -> Value {
        let answer = self.gennaker(&["execution", "explain", id, "--json"]);
        assert_eq!(answer.status, 0, "{answer:#?}");
        answer.summary().clone()
    }

    /// The running execution of an application in Spinnaker's form.
    ///
    /// # Panics
    /// If none runs.
    #[must_use]
    pub fn running(&self, application: &str) -> Value {
        let listed = self.of_application(application);
        let running = listed
            .iter()
            .find(|execution| execution["status"] == "RUNNING");
        running
            .cloned()
            .unwrap_or_else(|| panic!("none runs: {listed:#?}"))
    }

    /// The ARN of a run in Step Functions: which machine runs it is not known here, so all are asked.
    ///
    /// # Panics
    /// If no machine runs it.
    #[must_use]
    pub fn machine_run(&self, run: &str) -> String {
        let mut refused = Vec::new();
        for machine in self.cloud.state_machines().unwrap() {
            let arn = format!("{}:{run}", machine.replace(":stateMachine:", ":execution:"));
            let parameters = json!({ "executionArn": arn });
            match self
                .cloud
                .call("stepfunctions", "describe_execution", parameters)
            {
                Ok(_) => return arn,
                Err(error) => refused.push(error.to_string()),
            }
        }
        panic!("no machine runs {run}: {refused:#?}")
    }
}

/// The only stage of that type and that begin of a name.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn stage_named<'a>(execution: &'a Value, stage_type: &str, name: &str) -> &'a Value {
    let stages = execution["stages"].as_array().unwrap();
    let found = stages.iter().find(|stage| {
        stage["type"] == stage_type && stage["name"].as_str().unwrap_or("").starts_with(name)
    });
    found.unwrap_or_else(|| panic!("no stage {stage_type} `{name}`: {execution:#}"))
}
