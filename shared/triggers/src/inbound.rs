//! Webhooks of systems that Igor asks and Echo does not hear: registries of images and charts, build services, stores of
//! artifacts. Each becomes the event that Igor would have sent, of the account, master or search that the address names.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::event::Event;
use crate::webhook::{MAX_BODY, Received, Refused, event_id, posted, receive};

/// Types of webhooks that become events of Igor's; the source is an account, a master, or the name of a search.
pub const TYPES: [&str; 6] = [
    "docker",
    "helm",
    "jenkins",
    "travis",
    "artifactory",
    "nexus",
];

/// Most events of one webhook: a registry tells of some pushes at once.
const MOST_EVENTS: usize = 100;

/// Reads `POST /webhooks/{kind}/{source}`, of [`TYPES`] or of those that [`receive`] knows.
///
/// # Errors
/// [`Refused`], in time and memory bounded by the size of the body.
pub fn events(
    kind: &str,
    source: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Result<Vec<Received>, Refused> {
    if !TYPES.contains(&kind) {
        return Ok(vec![receive(kind, source, headers, body)?]);
    }
    if body.len() > MAX_BODY {
        return Err(Refused::TooLarge(body.len()));
    }
    if source.starts_with("aws.") {
        // A sender must not speak as ECR: that a digest was pushed there, AWS alone says.
        let reason = format!("`{source}` is AWS, which sends no webhooks");
        return Ok(vec![Received::NothingToDo(reason)]);
    }
    let raw = std::str::from_utf8(body).map_err(|error| Refused::Body(error.to_string()))?;
    let form = (kind == "travis").then(|| form_payload(raw)).flatten();
    let posted = Value::Object(posted(form.as_deref().unwrap_or(raw), source)?);
    let found = match kind {
        "docker" => pushes(source, &posted),
        "helm" => vec![chart(source, &posted)],
        "jenkins" => jenkins(source, &posted),
        "travis" => travis(source, &posted),
        _ => found(kind, source, &posted),
    };
    if found.is_empty() {
        let reason = format!("it is no push, end of a build or find of `{kind}`");
        return Ok(vec![Received::NothingToDo(reason)]);
    }
    let mut named = BTreeMap::new();
    for (name, value) in headers {
        named.insert(name.to_ascii_lowercase(), vec![value.clone()]);
    }
    let whole = event_id(kind, source, &named, body);
    Ok(found
        .into_iter()
        .take(MOST_EVENTS)
        .enumerate()
        .map(|(n, found)| {
            let id = found.id.unwrap_or_else(|| format!("{whole}#{n}"));
            Received::Event(Box::new(Event {
                kind: found.kind.to_owned(),
                source: Some(source.to_owned()),
                headers: Some(BTreeMap::new()),
                content: object(found.content),
                event_id: Some(id),
                ..Event::default()
            }))
        })
        .collect())
}

/// What one webhook tells of.
struct Found {
    kind: &'static str,
    content: Value,
    /// An id of its own: that of a build.
    id: Option<String>,
}

fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Pushes of images: Docker Hub, the notifications of a registry, Quay, Harbor. Told apart by what they say.
fn pushes(account: &str, body: &Value) -> Vec<Found> {
    let push = |registry: Option<&str>, repository: &str, tag: &str, digest: Option<&str>| Found {
        kind: "docker",
        content: json!({
            "account": account, "registry": registry, "repository": repository, "tag": tag, "digest": digest,
        }),
        id: None,
    };
    if let Some(repository) = text(body, "/repository/repo_name") {
        let tag = text(body, "/push_data/tag");
        return tag
            .map(|tag| push(Some("index.docker.io"), repository, tag, None))
            .into_iter()
            .collect();
    }
    if let Some(repository) = text(body, "/repository") {
        let host = text(body, "/docker_url").and_then(|url| url.split('/').next());
        return list(body, "/updated_tags")
            .filter_map(|tag| Some(push(host, repository, tag.as_str()?, None)))
            .collect();
    }
    if let Some(repository) = text(body, "/event_data/repository/repo_full_name") {
        if text(body, "/type") != Some("PUSH_ARTIFACT") {
            return Vec::new();
        }
        return list(body, "/event_data/resources")
            .filter_map(|one| {
                let host = text(one, "/resource_url").and_then(|url| url.split('/').next());
                Some(push(
                    host,
                    repository,
                    text(one, "/tag")?,
                    text(one, "/digest"),
                ))
            })
            .collect();
    }
    list(body, "/events")
        .filter(|event| text(event, "/action") == Some("push"))
        .filter_map(|event| {
            let (repository, tag) = (
                text(event, "/target/repository")?,
                text(event, "/target/tag")?,
            );
            let host = text(event, "/request/host");
            Some(push(host, repository, tag, text(event, "/target/digest")))
        })
        .collect()
}

/// A chart that was put into a Helm repository: `{"chart","version","digest"}`.
fn chart(account: &str, body: &Value) -> Found {
    Found {
        kind: "helm",
        content: json!({
            "account": account, "chart": text(body, "/chart"), "version": text(body, "/version"),
            "digest": text(body, "/digest"),
        }),
        id: None,
    }
}

fn build(master: &str, job: &str, number: i64, result: &str, url: Option<&str>) -> Found {
    Found {
        kind: "build",
        content: json!({
            "master": master,
            "project": { "name": job, "lastBuild": {
                "building": false, "number": number, "result": result, "url": url,
            } },
        }),
        id: Some(format!("{master}/{job}/{number}")),
    }
}

/// The end of a build, as Jenkins' notification plugin tells it. It tells of two ends, which are the same.
fn jenkins(master: &str, body: &Value) -> Vec<Found> {
    let over = matches!(text(body, "/build/phase"), Some("COMPLETED" | "FINALIZED"));
    // `job/folder/job/api/` is the job `folder/job/api`.
    let path = text(body, "/url").map(|url| {
        let path = url.trim_matches('/');
        path.strip_prefix("job/").unwrap_or(path)
    });
    let job = path.or_else(|| text(body, "/name"));
    let number = body.pointer("/build/number").and_then(Value::as_i64);
    let result = text(body, "/build/status").map(|status| match status {
        known @ ("SUCCESS" | "UNSTABLE" | "ABORTED" | "FAILURE" | "NOT_BUILT") => known,
        _ => "FAILURE",
    });
    match (over, job, number, result) {
        (true, Some(job), Some(number), Some(result)) => {
            let url = text(body, "/build/full_url");
            vec![build(master, job, number, result, url)]
        }
        _ => Vec::new(),
    }
}

/// The JSON in the field `payload` of a form.
fn form_payload(raw: &str) -> Option<String> {
    let field = raw
        .split('&')
        .find_map(|pair| pair.strip_prefix("payload="))?;
    decoded(field)
}

/// A text as forms and queries encode it.
pub(crate) fn decoded(encoded: &str) -> Option<String> {
    let text = encoded.replace('+', " ");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let coded = (*first == b'%').then(|| more.get(..2)).flatten();
        match coded.and_then(|digits| hex::decode(digits).ok()) {
            Some(byte) => {
                bytes.extend(byte);
                rest = more.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// The end of a build of Travis, as Igor tells it: of the repository, and of its branch, its tags or the pull requests to a
/// branch.
fn travis(master: &str, body: &Value) -> Vec<Found> {
    let result = match text(body, "/state") {
        Some("passed") => "SUCCESS",
        Some("canceled") => "ABORTED",
        Some("failed" | "errored") => "FAILURE",
        _ => return Vec::new(),
    };
    let number = body.get("number").and_then(|number| match number {
        Value::String(text) => text.parse().ok(),
        number => number.as_i64(),
    });
    let owner = text(body, "/repository/owner_name");
    let (Some(owner), Some(name), Some(number)) = (owner, text(body, "/repository/name"), number)
    else {
        return Vec::new();
    };
    let slug = format!("{owner}/{name}");
    let branch = text(body, "/branch");
    let branched = match text(body, "/type") {
        Some("pull_request") => branch.map(|branch| format!("{slug}/pull_request_{branch}")),
        _ if text(body, "/tag").is_some() => Some(format!("{slug}/tags")),
        _ => branch.map(|branch| format!("{slug}/{branch}")),
    };
    let url = text(body, "/build_url");
    branched
        .iter()
        .chain([&slug])
        .map(|job| build(master, job, number, result, url))
        .collect()
}

/// What was put into a store of artifacts: Artifactory's event of a deployed file, Nexus' of a created component.
fn found(kind: &str, search: &str, body: &Value) -> Vec<Found> {
    let coordinates = if kind == "nexus" {
        let is_new = text(body, "/action") == Some("CREATED");
        let part = |name: &str| text(body, &format!("/component/{name}")).map(str::to_owned);
        is_new
            .then(|| Some((part("group")?, part("name")?, part("version")?)))
            .flatten()
    } else {
        let is_new = text(body, "/event_type") == Some("deployed");
        is_new
            .then(|| text(body, "/data/path").and_then(maven_coordinates))
            .flatten()
    };
    let repository = text(body, "/data/repo_key").or_else(|| text(body, "/repositoryName"));
    let Some((group, name, version)) = coordinates else {
        return Vec::new();
    };
    let full = format!("{group}:{name}");
    vec![Found {
        kind: if kind == "nexus" {
            "nexus"
        } else {
            "artifactory"
        },
        content: json!({ "name": search, "artifact": {
            "type": "maven/file", "reference": format!("{full}:{version}"), "name": full,
            "version": version, "provenance": repository,
        } }),
        id: None,
    }]
}

/// Group, name and version of `com/acme/app/1.0/app-1.0.pom`. A version has a file for each packaging: its model stands for
/// all of them, as in Igor's searches.
fn maven_coordinates(path: &str) -> Option<(String, String, String)> {
    let (folder, file) = path.rsplit_once('/')?;
    let (folder, version) = folder.rsplit_once('/')?;
    let (group, name) = folder.rsplit_once('/')?;
    (file == format!("{name}-{version}.pom"))
        .then(|| (group.replace('/', "."), name.to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::{Heard, Settings};
    use crate::trigger::Trigger;

    fn heard(kind: &str, source: &str, body: &str) -> Vec<Event> {
        events(kind, source, &[], body.as_bytes())
            .unwrap()
            .into_iter()
            .filter_map(|one| match one {
                Received::Event(event) => Some(*event),
                Received::NothingToDo(_) => None,
            })
            .collect()
    }

    /// How many events of a webhook the trigger matches.
    fn matched(kind: &str, source: &str, body: &Value, trigger: Value) -> usize {
        let mut trigger = trigger;
        trigger["enabled"] = json!(true);
        let trigger = Trigger::read(&trigger).unwrap();
        heard(kind, source, &body.to_string())
            .iter()
            .filter(|event| {
                let keys = crate::index::event_keys(event);
                let found =
                    crate::index::trigger_key(&trigger).is_some_and(|key| keys.contains(&key));
                let settings = Settings::default();
                found
                    && Heard::new(event)
                        .matches_trigger("", &trigger, &settings)
                        .matched
            })
            .count()
    }

    #[test]
    fn pushes_to_registries_start_docker_triggers_of_their_account() {
        let hub = json!({"push_data": {"tag": "v1"}, "repository": {"repo_name": "shop/api"}});
        let quay = json!({"repository": "shop/api", "docker_url": "quay.io/shop/api", "updated_tags": ["v1", "latest"]});
        let registry = json!({"events": [
            {"action": "pull", "target": {"repository": "shop/api", "tag": "v1"}},
            {"action": "push", "target": {"repository": "shop/api", "tag": "v1", "digest": "sha256:a"}}]});
        let harbor = json!({"type": "PUSH_ARTIFACT", "event_data": {"repository": {"repo_full_name": "shop/api"},
            "resources": [{"tag": "v1", "digest": "sha256:a", "resource_url": "harbor.example/shop/api:v1"}]}});
        for body in [hub, quay, registry, harbor] {
            let trigger =
                json!({"type": "docker", "account": "hub", "repository": "shop/api", "tag": "v.*"});
            assert_eq!(
                matched("docker", "hub", &body, trigger.clone()),
                1,
                "{body}"
            );
            assert_eq!(matched("docker", "other", &body, trigger), 0);
        }
        assert!(heard("docker", "hub", "{}").is_empty());
        let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
        let forged = json!({"events": [{"action": "push", "request": {"host": host},
            "target": {"repository": "shop/api", "tag": "v1", "digest": "sha256:a"}}]});
        assert_eq!(heard("docker", host, &forged.to_string()).len(), 1);
        assert!(heard("docker", "aws.ecr", &forged.to_string()).is_empty());
    }

    #[test]
    fn ends_of_builds_start_the_triggers_of_their_job() {
        let jenkins = |phase: &str, status: &str| json!({"name": "api", "url": "job/shop/job/api/", "build": {"number": 7, "phase": phase, "status": status}});
        let trigger = json!({"type": "jenkins", "master": "ci", "job": "shop/job/api"});
        assert_eq!(
            matched(
                "jenkins",
                "ci",
                &jenkins("FINALIZED", "SUCCESS"),
                trigger.clone()
            ),
            1
        );
        assert_eq!(
            matched(
                "jenkins",
                "ci",
                &jenkins("FINALIZED", "FAILURE"),
                trigger.clone()
            ),
            0
        );
        assert_eq!(
            matched("jenkins", "ci", &jenkins("STARTED", "SUCCESS"), trigger),
            0
        );
        let twice: Vec<Option<String>> = ["COMPLETED", "FINALIZED"]
            .iter()
            .flat_map(|phase| heard("jenkins", "ci", &jenkins(phase, "SUCCESS").to_string()))
            .map(|event| event.event_id)
            .collect();
        assert_eq!(twice[0], twice[1]);
    }

    #[test]
    fn a_build_of_travis_is_one_of_its_repository_and_of_its_branch() {
        let payload = json!({"state": "passed", "number": "12", "type": "push", "branch": "main",
            "repository": {"owner_name": "shop", "name": "api"}});
        for job in ["shop/api", "shop/api/main"] {
            let trigger = json!({"type": "travis", "master": "t", "job": job});
            assert_eq!(matched("travis", "t", &payload, trigger), 1, "{job}");
        }
        for (field, value, job) in [
            ("type", "pull_request", "shop/api/pull_request_main"),
            ("tag", "v1", "shop/api/tags"),
        ] {
            let mut other = payload.clone();
            other[field] = json!(value);
            let trigger = json!({"type": "travis", "master": "t", "job": job});
            assert_eq!(matched("travis", "t", &other, trigger), 1, "{job}");
        }
        let form = format!(
            "payload={}",
            payload.to_string().replace('"', "%22").replace(' ', "+")
        );
        assert_eq!(heard("travis", "t", &form).len(), 2);
    }

    #[test]
    fn what_is_put_into_a_store_starts_the_triggers_of_its_search() {
        let deployed = json!({"domain": "artifact", "event_type": "deployed",
            "data": {"repo_key": "libs", "path": "com/acme/app/1.0/app-1.0.pom"}});
        let trigger = json!({"type": "artifactory", "artifactorySearchName": "libs"});
        assert_eq!(matched("artifactory", "libs", &deployed, trigger), 1);
        let event = heard("artifactory", "libs", &deployed.to_string()).remove(0);
        assert_eq!(
            event.content.unwrap()["artifact"]["reference"],
            "com.acme:app:1.0"
        );
        let created = json!({"action": "CREATED", "repositoryName": "releases",
            "component": {"group": "com.acme", "name": "app", "version": "1.0"}});
        let trigger = json!({"type": "nexus", "nexusSearchName": "libs"});
        assert_eq!(matched("nexus", "libs", &created, trigger), 1);
        let chart = json!({"chart": "api", "version": "1.2.3", "digest": "sha256:a"});
        let trigger = json!({"type": "helm", "account": "charts", "artifactName": "api", "version": "^1.0.0"});
        assert_eq!(matched("helm", "charts", &chart, trigger), 1);
    }

    #[test]
    fn what_is_none_of_it_is_nothing_to_do_and_what_cannot_be_read_is_refused() {
        for kind in TYPES {
            if kind != "helm" {
                assert!(heard(kind, "x", "{\"a\":[1]}").is_empty(), "{kind}");
            }
            assert!(events(kind, "x", &[], b"[").is_err());
            assert!(events(kind, "x", &[], b"\xFF").is_err());
        }
    }
}
