//! Build masters that are polled, and which of their builds are done with.
//!
//! `BUILD#`, `<master>` is a master; `BUILD#<master>`, `JOB#<job>` the mark of one of its jobs ([`super::registries`] has the
//! tags of a registry's repositories). No master has the empty name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Store, held, object, read};
use crate::{CloudError, Condition, Key, Write};

/// Partition of all masters.
const MASTERS: &str = "BUILD#";

/// What kind of build service a master is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildService {
    /// Jenkins.
    Jenkins,
    /// Travis CI.
    Travis,
    /// A registry of images, by version 2 of Docker's API.
    Docker,
}

impl BuildService {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 3] = [
        ("jenkins", Self::Jenkins),
        ("travis", Self::Travis),
        ("docker", Self::Docker),
    ];
}

/// A build service that is asked for its builds, Spinnaker's `master`; or a registry that is asked for its tags, whose name
/// is an account's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildMaster {
    /// Name, as triggers give it in `master` or `account`.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub service: BuildService,
    /// Where it is: `https://jenkins.example.com`, `https://api.travis-ci.com`.
    pub address: String,
    /// User of a Jenkins or a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Reference to the token, or to a registry's password: `ssm:…`, `secretsmanager:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Repositories of a registry: no others are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
}

/// Which builds of a job are done with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Every build up to this number.
    pub up_to: i64,
    /// These builds beyond it: one before them still runs.
    #[serde(default)]
    pub also: Vec<i64>,
    /// When the latest of them ended, UTC milliseconds.
    pub at: i64,
}

fn mark_key(master: &str, job: &str) -> Key {
    Key::new(format!("{MASTERS}{master}"), format!("JOB#{job}"))
}

impl Store {
    /// All masters, by name.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn build_masters(&self) -> Result<Vec<BuildMaster>, CloudError> {
        let items = self.table.query(MASTERS, "").await?;
        items
            .into_iter()
            .map(|item| {
                read(
                    "build master",
                    item.get("master").cloned().unwrap_or(Value::Null),
                )
            })
            .collect()
    }

    /// Saves a master, over what was there.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn save_build_master(&self, master: &BuildMaster) -> Result<(), CloudError> {
        let item = object(json!({ "master": master }));
        self.table
            .write(Write::put(Key::new(MASTERS, &master.name), item))
            .await
    }

    /// Removes a master; an absent one is fine. Its marks stay, so that one of its name goes on where it ended.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn delete_build_master(&self, name: &str) -> Result<(), CloudError> {
        self.table
            .write(Write::delete(Key::new(MASTERS, name)))
            .await
    }

    /// The marks of a master's jobs.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn build_marks(&self, master: &str) -> Result<BTreeMap<String, Mark>, CloudError> {
        let partition = format!("{MASTERS}{master}");
        let items = self.table.query(&partition, "JOB#").await?;
        items
            .into_iter()
            .map(|item| {
                let key = item.get("SK").and_then(Value::as_str).unwrap_or_default();
                let job = key.trim_start_matches("JOB#").to_owned();
                let mark = item.get("mark").cloned().unwrap_or(Value::Null);
                Ok((job, read("mark", mark)?))
            })
            .collect()
    }

    /// Moves the mark of a job on. False if somebody moved it since it was read: they will have seen the same builds.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn move_build_mark(
        &self,
        master: &str,
        job: &str,
        before: Option<&Mark>,
        after: &Mark,
    ) -> Result<bool, CloudError> {
        let unchanged = match before {
            None => Condition::no_item(),
            Some(before) => Condition::equals("mark", json!(before)),
        };
        let write = Write::put(mark_key(master, job), object(json!({ "mark": after })));
        held(self.table.write(write.only_if(unchanged)).await)
    }
}
