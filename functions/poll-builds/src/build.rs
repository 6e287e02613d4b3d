//! Builds as Jenkins and Travis tell them.

use gennaker_cloud::store::builds::BuildService;
use serde_json::{Value, json};

/// Jobs of one master that are read; Jenkins' folders four deep.
pub const MOST_JOBS: usize = 5_000;

/// The longest name of a job, in bytes: it becomes a part of keys.
const MOST_NAME: usize = 900;

/// One build of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Job, as triggers name it: `folder/job/name`, `shop/api/main`.
    pub job: String,
    /// Its number in the job.
    pub number: i64,
    /// How it ended; none while it runs.
    pub result: Option<String>,
    /// When it ended, UTC milliseconds.
    pub at: i64,
    /// Where a person looks at it.
    pub url: Option<String>,
}

impl Build {
    /// The event that triggers of type `jenkins` and `travis` hear, in Echo's form.
    #[must_use]
    pub fn event(&self, master: &str, service: &BuildService) -> Value {
        json!({
            "details": { "type": "build", "source": master },
            "eventId": format!("{master}/{}#{}", self.job, self.number),
            "content": {
                "master": master,
                "type": service,
                "project": {
                    "name": self.job,
                    "lastBuild": {
                        "building": self.result.is_none(), "number": self.number, "result": self.result,
                        "timestamp": self.at, "url": self.url,
                    },
                },
            },
        })
    }
}

/// What Jenkins is asked: the last twenty builds of each job, in folders too.
#[must_use]
pub fn jenkins_tree() -> String {
    const BUILDS: &str = "name,builds[number,building,result,timestamp,duration,url]{0,20}";
    (0..4).fold(String::new(), |inner, _| {
        let inner = if inner.is_empty() {
            inner
        } else {
            format!(",{inner}")
        };
        format!("jobs[{BUILDS}{inner}]")
    })
}

/// The builds in Jenkins' answer to [`jenkins_tree`].
#[must_use]
pub fn jenkins(answer: &Value) -> Vec<Build> {
    let mut builds = Vec::new();
    let mut jobs = 0;
    let mut open: Vec<(String, &Value)> = vec![(String::new(), answer)];
    while let Some((folder, node)) = open.pop() {
        for job in list(node, "jobs") {
            let Some(name) = job.get("name").and_then(Value::as_str) else {
                continue;
            };
            let name = if folder.is_empty() {
                name.to_owned()
            } else {
                format!("{folder}/job/{name}")
            };
            jobs += 1;
            if jobs > MOST_JOBS || name.len() > MOST_NAME {
                continue;
            }
            builds.extend(
                list(job, "builds")
                    .iter()
                    .filter_map(|build| jenkins_build(&name, build)),
            );
            open.push((name, job));
        }
    }
    builds
}

fn jenkins_build(job: &str, build: &Value) -> Option<Build> {
    let number = build.get("number")?.as_i64()?;
    let whole = |name: &str| build.get(name).and_then(Value::as_i64).unwrap_or(0);
    let building = build.get("building") == Some(&Value::Bool(true));
    let result = build.get("result").and_then(Value::as_str).map(known);
    Some(Build {
        job: job.to_owned(),
        number,
        result: result.filter(|_| !building),
        at: whole("timestamp").saturating_add(whole("duration")),
        url: build.get("url").and_then(Value::as_str).map(str::to_owned),
    })
}

/// A result as Echo knows it.
fn known(result: &str) -> String {
    const KNOWN: [&str; 5] = ["SUCCESS", "UNSTABLE", "ABORTED", "FAILURE", "NOT_BUILT"];
    let result = result.to_uppercase();
    if KNOWN.contains(&result.as_str()) {
        result
    } else {
        "FAILURE".to_owned()
    }
}

/// The builds in Travis' answer to `GET /builds`. Each is one of its repository and one of its branch, of the tags or
/// of a pull request, as Igor names them.
#[must_use]
pub fn travis(answer: &Value) -> Vec<Build> {
    list(answer, "builds")
        .iter()
        .filter_map(travis_builds)
        .flatten()
        .filter(|build| build.job.len() <= MOST_NAME)
        .collect()
}

fn travis_builds(build: &Value) -> Option<[Build; 2]> {
    let text = |pointer: &str| build.pointer(pointer).and_then(Value::as_str);
    let number = match build.get("number")? {
        Value::String(number) => number.parse().ok()?,
        number => number.as_i64()?,
    };
    let slug = text("/repository/slug")?;
    let result = match text("/state")? {
        "passed" => Some("SUCCESS"),
        "failed" | "errored" => Some("FAILURE"),
        "canceled" => Some("ABORTED"),
        _ => None,
    };
    let finished = text("/finished_at").and_then(|time| time.parse::<jiff::Timestamp>().ok());
    let branch = text("/branch/name").unwrap_or_default();
    let branched = if text("/event_type") == Some("pull_request") {
        format!("{slug}/pull_request_{branch}")
    } else if text("/tag/name").is_some() {
        format!("{slug}/tags")
    } else {
        format!("{slug}/{branch}")
    };
    let of = |job: String| Build {
        job,
        number,
        result: result.map(str::to_owned),
        at: finished.map_or(0, jiff::Timestamp::as_millisecond),
        url: None,
    };
    Some([of(slug.to_owned()), of(branched)])
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_in_folders_are_named_as_triggers_name_them() {
        let answer = json!({"jobs": [
            {"name": "api", "builds": [
                {"number": 8, "building": true, "result": null, "timestamp": 50, "duration": 0},
                {"number": 7, "building": false, "result": "SUCCESS", "timestamp": 10, "duration": 5, "url": "https://ci/7"}]},
            {"name": "team", "jobs": [{"name": "web", "builds": [{"number": 1, "result": "ODD", "timestamp": 1}]}]},
            {"builds": []}, 7,
        ]});
        let builds = jenkins(&answer);
        let seen: Vec<(&str, i64, Option<&str>, i64)> = builds
            .iter()
            .map(|one| (one.job.as_str(), one.number, one.result.as_deref(), one.at))
            .collect();
        assert_eq!(
            seen,
            [
                ("api", 8, None, 50),
                ("api", 7, Some("SUCCESS"), 15),
                ("team/job/web", 1, Some("FAILURE"), 1)
            ]
        );
        assert!(jenkins_tree().starts_with("jobs[name,builds[number,"));
        assert_eq!(jenkins_tree().matches("jobs[").count(), 4);
    }

    #[test]
    fn a_build_of_travis_is_one_of_its_repository_and_one_of_its_branch() {
        let build = |more: Value| {
            let mut build = json!({"number": "12", "state": "passed", "finished_at": "2026-11-20T00:00:01Z",
                "event_type": "push", "repository": {"slug": "shop/api"}, "branch": {"name": "main"}});
            build
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            build
        };
        let answer = json!({"builds": [build(json!({})), build(json!({"tag": {"name": "v1"}})),
            build(json!({"event_type": "pull_request", "state": "started"})), {"number": "x"}]});
        let builds = travis(&answer);
        let jobs: Vec<&str> = builds.iter().map(|one| one.job.as_str()).collect();
        let expected = [
            "shop/api",
            "shop/api/main",
            "shop/api",
            "shop/api/tags",
            "shop/api",
            "shop/api/pull_request_main",
        ];
        assert_eq!(jobs, expected);
        assert_eq!(builds[0].result.as_deref(), Some("SUCCESS"));
        assert_eq!(builds[5].result, None);
    }
}
