//! Whether a trigger matches an event, why not, and what it then is.

use serde_json::{Map, Value, json};

use crate::artifact::{Artifact, any_matches};
use crate::constraint;
use crate::event::{
    BuildContent, Event, FoundContent, GitContent, HelmContent, Message, RegistryContent,
    WebhookContent, same_ignoring_case,
};
use crate::json::{Unreadable, java_text};
use crate::pipeline::Pipeline;
use crate::signature::{self, Sha1Policy};
use crate::trigger::Trigger;
use crate::version_range;

/// Types of triggers that hear the builds of a build service, in the order in which they start pipelines.
pub const BUILD_TYPES: [&str; 4] = ["jenkins", "travis", "concourse", "gitlab-ci"];

/// What the build service says about the build of an event. A call that failed is an error.
#[derive(Clone, Debug, Default)]
pub struct BuildService {
    /// The build.
    pub build: Option<Value>,
    /// The properties in the trigger's property file.
    pub properties: Option<Value>,
    /// The artifacts in the trigger's property file.
    pub artifacts: Option<Value>,
    /// Calls that fail: `build`, `properties`, `artifacts`.
    pub failing: Vec<String>,
}

impl BuildService {
    fn call(&self, name: &str) -> Option<Value> {
        if self.failing.iter().any(|failing| failing == name) {
            return None;
        }
        let found = match name {
            "build" => &self.build,
            "properties" => &self.properties,
            _ => &self.artifacts,
        };
        Some(found.clone().unwrap_or(Value::Null))
    }
}

/// Whether a user (first) may not execute pipelines of an application (second).
pub type Denied<'a> = dyn Fn(&str, &str) -> bool + 'a;

/// Whether the sender of the event knows what a trigger's `secret` says, or refers to.
pub type Vouched<'a> = dyn Fn(&str) -> bool + 'a;

/// What matching needs beside the event and the pipeline.
#[derive(Default)]
pub struct Settings<'a> {
    /// Secret of every git trigger that has none of its own.
    pub git_shared_secret: Option<&'a str>,
    /// The build service; without one, builds have no properties.
    pub build_service: Option<&'a BuildService>,
    /// Whether a user may not execute pipelines of an application.
    pub denied: Option<&'a Denied<'a>>,
    /// Which triggers take signatures made with SHA-1.
    pub sha1: Sha1Policy,
    /// Who says whether the event is signed with a secret, where the signature was checked before: then it is not looked at.
    pub vouched: Option<&'a Vouched<'a>>,
}

/// Answer for one trigger.
#[derive(Clone, Debug)]
pub struct Match {
    /// Whether the pipeline starts.
    pub matched: bool,
    /// Why, or why not, for a person.
    pub reason: String,
    /// The trigger as the execution carries it; null if it does not match.
    pub resolved: Value,
    /// What arrived with the event.
    pub artifacts: Vec<Artifact>,
}

impl Match {
    fn no(reason: impl Into<String>) -> Self {
        Self {
            matched: false,
            reason: reason.into(),
            resolved: Value::Null,
            artifacts: Vec::new(),
        }
    }
}

/// Why a trigger does not match.
struct No(String);

impl<T: Into<String>> From<T> for No {
    fn from(reason: T) -> Self {
        Self(reason.into())
    }
}

type Bound = Result<(Trigger, Vec<Artifact>), No>;

/// The content of an event as the triggers that hear it read it.
enum Content {
    Git(GitContent),
    Registry(&'static str, RegistryContent),
    Helm(HelmContent),
    Build(Option<BuildContent>),
    Pubsub(Option<Message>),
    Artifactory(FoundContent),
    Nexus(FoundContent),
    Plugin,
    None,
}

/// An event, read once for all triggers.
pub struct Heard<'a> {
    event: &'a Event,
    content: Result<Content, Unreadable>,
    webhook: Result<Option<WebhookContent>, Unreadable>,
}

impl<'a> Heard<'a> {
    /// Reads the content of an event. One that cannot be read matches nothing, and every trigger says why.
    #[must_use]
    pub fn new(event: &'a Event) -> Self {
        let empty = Map::new();
        let given = event.content.as_ref();
        let content = given.unwrap_or(&empty);
        let read = if event.is("git") {
            GitContent::read(content).map(Content::Git)
        } else if event.is("docker") {
            RegistryContent::read(content).map(|found| Content::Registry("docker", found))
        } else if event.is("helm/oci") {
            RegistryContent::read(content).map(|found| Content::Registry("helm/oci", found))
        } else if event.is("helm") {
            HelmContent::read(content).map(Content::Helm)
        } else if event.is("build") {
            BuildContent::read(content).map(Content::Build)
        } else if event.is("pubsub") {
            Message::read(content).map(Content::Pubsub)
        } else if event.is("artifactory") {
            FoundContent::read(content).map(Content::Artifactory)
        } else if event.is("nexus") {
            FoundContent::read(content).map(Content::Nexus)
        } else if event.is("plugin") {
            plugin_content(content).map(|()| Content::Plugin)
        } else {
            Ok(Content::None)
        };
        Self {
            event,
            content: read,
            webhook: given.map(WebhookContent::read).transpose(),
        }
    }

    /// Whether a trigger of a pipeline matches.
    #[must_use]
    pub fn matches(&self, pipeline: &Pipeline, trigger: &Trigger, settings: &Settings) -> Match {
        if pipeline.disabled {
            return Match::no("the pipeline is disabled");
        }
        let answer = self.matches_trigger(&pipeline.application, trigger, settings);
        if !answer.matched {
            return answer;
        }
        let ids = trigger.texts("expectedArtifactIds");
        match any_matches(
            &answer.artifacts,
            ids.as_deref(),
            &pipeline.expected_artifacts,
        ) {
            Ok(true) => answer,
            Ok(false) => Match::no("none of the event's artifacts is one that the trigger expects"),
            Err(error) => Match::no(error.to_string()),
        }
    }

    /// Whether a trigger matches, as far as it can be said without its pipeline: what the pipeline expects of artifacts
    /// and whether it is disabled is not looked at.
    #[must_use]
    pub fn matches_trigger(
        &self,
        application: &str,
        trigger: &Trigger,
        settings: &Settings,
    ) -> Match {
        if !trigger.enabled {
            return Match::no("the trigger is not enabled");
        }
        let Some(kind) = trigger.kind.as_deref() else {
            return Match::no("the trigger has no type");
        };
        let (bound, artifacts) = match self.bind(kind, trigger, settings) {
            Err(No(reason)) => return Match::no(reason),
            Ok(bound) => bound,
        };
        let user = trigger.text("runAsUser").unwrap_or("anonymous");
        if settings
            .denied
            .is_some_and(|denied| denied(user, application))
        {
            return Match::no(format!(
                "`{user}` may not execute pipelines of `{application}`"
            ));
        }
        Match {
            matched: true,
            reason: reason(trigger, &bound),
            resolved: bound.to_json(),
            artifacts,
        }
    }

    /// The trigger bound to the event, and the event's artifacts.
    fn bind(&self, kind: &str, trigger: &Trigger, settings: &Settings) -> Bound {
        let unreadable = |error: &Unreadable| No(format!("the event cannot be read: {error}"));
        if kind == "webhook" || kind == "cdevents" {
            if self.event.kind == "manual" {
                return Err("the event starts a pipeline by hand".into());
            }
            return self.webhook(kind, trigger);
        }
        let content = self.content.as_ref().map_err(unreadable)?;
        match content {
            Content::Git(content) if kind == "git" => self.git(content, trigger, settings),
            Content::Registry("docker", content)
                if self.is_ecr() && ["docker", "ecr"].contains(&kind) =>
            {
                self.ecr(kind, content, trigger)
            }
            Content::Registry(wanted, content) if kind == *wanted => {
                self.registry(kind, content, trigger)
            }
            Content::Helm(content) if kind == "helm" => self.helm(content, trigger),
            Content::Build(content) if BUILD_TYPES.contains(&kind) => {
                self.build(content.as_ref(), trigger, settings)
            }
            Content::Pubsub(message) if kind == "pubsub" => self.pubsub(message.as_ref(), trigger),
            Content::Artifactory(found) if kind == "artifactory" => {
                self.search("artifactorySearchName", found, trigger)
            }
            Content::Nexus(found) if kind == "nexus" => {
                self.search("nexusSearchName", found, trigger)
            }
            Content::Plugin if kind == "plugin" => self.plugin(trigger),
            _ => Err(No(format!(
                "a trigger of type `{kind}` hears no events of type `{}`",
                self.event.kind
            ))),
        }
    }

    fn event_id(&self) -> Value {
        self.event.event_id.clone().into()
    }

    fn git(&self, content: &GitContent, trigger: &Trigger, settings: &Settings) -> Bound {
        let wanted = (
            required(trigger, "source")?,
            required(trigger, "project")?,
            required(trigger, "slug")?,
        );
        let found = (
            self.event.source.as_deref(),
            content.project.as_deref(),
            content.slug.as_deref(),
        );
        for (name, wanted, found) in [
            ("source", wanted.0, found.0),
            ("project", wanted.1, found.1),
            ("slug", wanted.2, found.2),
        ] {
            if !found.is_some_and(|found| same_ignoring_case(wanted, found)) {
                return Err(differs(name, found, wanted));
            }
        }
        if let Some(pattern) = trigger.text("branch").filter(|text| !text.is_empty()) {
            let branch = content
                .branch
                .as_deref()
                .ok_or_else(|| No("the event has no branch".to_owned()))?;
            full_match(trigger, "branch", pattern, branch)?;
        }
        self.signature(trigger, settings)?;
        let events = trigger.texts("events").unwrap_or_default();
        if !events.is_empty() {
            let action = content
                .action
                .as_deref()
                .ok_or_else(|| No("the event has no action".to_owned()))?;
            if !events.iter().flatten().any(|wanted| wanted == action) {
                return Err(No(format!("the action `{action}` is not among `events`")));
            }
        }
        let mut properties = trigger.object("properties").cloned().unwrap_or_default();
        if let Some((name, _)) = properties.iter().find(|(_, value)| value.is_null()) {
            return Err(No(format!("the trigger's property `{name}` is null")));
        }
        for (name, value) in &content.properties {
            if properties.contains_key(name) {
                return Err(No(format!(
                    "the trigger already has the property `{name}` of the event"
                )));
            }
            properties.insert(name.clone(), value.clone());
        }
        let mut bound = trigger.clone();
        bound.put("buildNumber", Value::Null);
        bound.put("tag", Value::Null);
        bound.put("hash", content.hash.clone());
        bound.put("branch", content.branch.clone());
        bound.put("eventId", self.event_id());
        bound.put("action", content.action.clone());
        bound.put("properties", properties);
        Ok((bound, content.artifacts.clone()))
    }

    /// A signature has to be there if, and only if, a secret is configured. What AWS told has come by a rule of this
    /// account, and no webhook can say that it has.
    fn signature(&self, trigger: &Trigger, settings: &Settings) -> Result<(), No> {
        if self.event.by_aws {
            return Ok(());
        }
        let headers = self
            .event
            .headers
            .as_ref()
            .ok_or_else(|| No("the event has no headers".to_owned()))?;
        let secret = trigger
            .text("secret")
            .filter(|text| !text.is_empty())
            .or_else(|| settings.git_shared_secret.filter(|text| !text.is_empty()));
        let Some(secret) = secret else {
            if headers.contains_key(signature::HUB) {
                return Err("the event is signed and the trigger has no secret".into());
            }
            return Ok(());
        };
        if let Some(vouched) = settings.vouched {
            return if vouched(secret) {
                Ok(())
            } else {
                Err("the event is not signed with the trigger's secret".into())
            };
        }
        let body = self.event.raw_content.as_deref().ok_or_else(|| {
            No("the event has no body whose signature could be checked".to_owned())
        })?;
        let sha1 = settings.sha1 == Sha1Policy::Always
            || trigger
                .text("signatureAlgorithm")
                .is_some_and(|name| name.eq_ignore_ascii_case("sha1"));
        signature::verify(
            secret,
            body.as_bytes(),
            |name| self.event.header(name),
            sha1,
        )
        .map_err(|error| No(error.to_string()))
    }

    /// Whether the event is an image push that EventBridge told: then the registry decides, not an account's name.
    fn is_ecr(&self) -> bool {
        self.event.source.as_deref() == Some("aws.ecr")
    }

    /// A `docker` trigger on an ECR registry, or our own `ecr` trigger. The image is what its digest says.
    fn ecr(&self, kind: &str, content: &RegistryContent, trigger: &Trigger) -> Bound {
        let tag = event_tag(content)?;
        let host = content
            .registry
            .as_deref()
            .ok_or_else(|| No("the event has no registry".to_owned()))?;
        let repository = required(trigger, "repository")?;
        if content.repository.as_deref() != Some(repository) {
            return Err(differs(
                "repository",
                content.repository.as_deref(),
                repository,
            ));
        }
        if kind == "docker" {
            let wanted = trigger
                .text("registry")
                .filter(|text| !text.trim().is_empty())
                .or_else(|| trigger.text("account"))
                .map(|text| {
                    text.trim()
                        .trim_start_matches("https://")
                        .trim_end_matches('/')
                })
                .unwrap_or_default();
            if !wanted.is_empty() && wanted != host {
                return Err(differs("registry", Some(host), wanted));
            }
        } else {
            let mut parts = host.split('.');
            let account = parts.next();
            let region = parts.nth(2);
            let given = |field: &str| trigger.text(field).filter(|text| !text.is_empty());
            for (name, wanted, found) in [
                (
                    "account",
                    given("registryId").or_else(|| given("account")),
                    account,
                ),
                ("region", given("region"), region),
            ] {
                if let Some(wanted) = wanted
                    && found != Some(wanted)
                {
                    return Err(differs(name, found, wanted));
                }
            }
        }
        tag_matches(trigger, tag)?;
        let mut bound = trigger.clone();
        for field in ["buildNumber", "hash"] {
            bound.put(field, Value::Null);
        }
        bound.put("type", "docker");
        bound.put("registry", host);
        bound.put("tag", tag);
        bound.put("digest", content.digest.clone());
        bound.put("eventId", self.event_id());
        let name = format!("{host}/{repository}");
        let mut metadata = Map::new();
        metadata.insert("registry".to_owned(), host.into());
        // The tag may name another image by the time it is deployed; the digest does not.
        let reference = match &content.digest {
            Some(digest) => {
                metadata.insert("digest".to_owned(), digest.as_str().into());
                format!("{name}@{digest}")
            }
            None => format!("{name}:{tag}"),
        };
        let artifact = Artifact {
            kind: Some("docker/image".to_owned()),
            name: Some(name),
            version: Some(tag.to_owned()),
            reference: Some(reference),
            metadata,
            ..Artifact::default()
        };
        bound.put("artifacts", json!([artifact.to_json()]));
        Ok((bound, vec![artifact]))
    }

    fn registry(&self, kind: &str, content: &RegistryContent, trigger: &Trigger) -> Bound {
        let tag = event_tag(content)?;
        let account = required(trigger, "account")?;
        let repository = required(trigger, "repository")?;
        for (name, wanted, found) in [
            ("repository", repository, content.repository.as_deref()),
            ("account", account, content.account.as_deref()),
        ] {
            if found != Some(wanted) {
                return Err(differs(name, found, wanted));
            }
        }
        tag_matches(trigger, tag)?;
        let mut bound = trigger.clone();
        bound.put("buildNumber", Value::Null);
        bound.put("hash", Value::Null);
        bound.put("tag", tag);
        bound.put("digest", content.digest.clone());
        bound.put("eventId", self.event_id());
        let name = format!(
            "{}/{repository}",
            content.registry.as_deref().unwrap_or("null")
        );
        let artifact = Artifact {
            kind: Some(
                if kind == "docker" {
                    "docker/image"
                } else {
                    "helm/image"
                }
                .to_owned(),
            ),
            version: Some(tag.to_owned()),
            reference: Some(format!("{name}:{tag}")),
            name: Some(name),
            ..Artifact::default()
        };
        Ok((bound, vec![artifact]))
    }

    fn helm(&self, content: &HelmContent, trigger: &Trigger) -> Bound {
        let given = |value: &Option<String>, name: &str| {
            value
                .clone()
                .filter(|text| !text.is_empty())
                .ok_or_else(|| No(format!("the event has no {name}")))
        };
        let chart = given(&content.chart, "chart")?;
        let version = given(&content.version, "version")?;
        let digest = given(&content.digest, "digest")?;
        let account = required(trigger, "account")?;
        if content.account.as_deref() != Some(account) {
            return Err(differs("account", content.account.as_deref(), account));
        }
        if let Some(range) = trigger
            .text("version")
            .map(str::trim)
            .filter(|range| !range.is_empty())
        {
            match version_range::satisfies(&version, range) {
                Some(true) => {}
                Some(false) => {
                    return Err(No(format!("version `{version}` is not in `{range}`")));
                }
                None => {
                    return Err(No(format!(
                        "`{version}` or `{range}` is no version or range of versions"
                    )));
                }
            }
        }
        let mut bound = trigger.clone();
        bound.put("artifactName", chart.as_str());
        bound.put("version", version.as_str());
        bound.put("digest", digest.as_str());
        bound.put("eventId", self.event_id());
        let mut metadata = Map::new();
        metadata.insert("digest".to_owned(), digest.into());
        let artifact = Artifact {
            kind: Some("helm/chart".to_owned()),
            name: Some(chart),
            version: Some(version),
            reference: content.account.clone(),
            metadata,
            ..Artifact::default()
        };
        Ok((bound, vec![artifact]))
    }

    fn webhook(&self, kind: &str, trigger: &Trigger) -> Bound {
        let content = match &self.webhook {
            Err(error) => return Err(No(format!("the event cannot be read: {error}"))),
            Ok(content) => content.as_ref(),
        };
        if !self.event.is(kind) {
            return Err(No(format!(
                "a trigger of type `{kind}` hears no events of type `{}`",
                self.event.kind
            )));
        }
        let source = required(trigger, "source")?;
        if self.event.source.as_deref() != Some(source) {
            return Err(differs("source", self.event.source.as_deref(), source));
        }
        if kind == "cdevents"
            && let Some(wanted) = trigger.object("attributeConstraints")
        {
            let headers = self.event.headers.as_ref();
            let unmet = constraint::headers(wanted, &|name| {
                let values = headers?.get(name)?.as_ref()?;
                Some(values.iter().flatten().cloned().collect())
            });
            if let Some(unmet) = unmet {
                return Err(No(unmet));
            }
        }
        if let Some(wanted) = trigger.object("payloadConstraints") {
            met(constraint::json_path_with(
                wanted,
                self.event.payload.as_ref(),
                &|pattern, text| trigger.finds(pattern, text),
            ))?;
        }
        let content = content.ok_or_else(|| No("the event has no content".to_owned()))?;
        let mut bound = trigger.clone();
        bound.put("parameters", content.parameters.clone());
        bound.put("payload", self.event.payload.clone());
        bound.put("eventId", self.event_id());
        Ok((bound, content.artifacts.clone()))
    }

    fn pubsub(&self, message: Option<&Message>, trigger: &Trigger) -> Bound {
        let wanted = (
            required_text(trigger, "pubsubSystem")?,
            required_text(trigger, "subscriptionName")?,
        );
        let message = message.ok_or_else(|| No("the event has no message".to_owned()))?;
        let system = message
            .system
            .ok_or_else(|| No("the message has no pub/sub system".to_owned()))?;
        for (name, wanted, found) in [
            ("pubsubSystem", wanted.0, Some(system)),
            (
                "subscriptionName",
                wanted.1,
                message.subscription.as_deref(),
            ),
        ] {
            if !found.is_some_and(|found| same_ignoring_case(wanted, found)) {
                return Err(differs(name, found, wanted));
            }
        }
        if let Some(wanted) = trigger.object("payloadConstraints") {
            met(constraint::literal_with(
                wanted,
                self.event.payload.as_ref(),
                &|pattern, text| trigger.finds(pattern, text),
            ))?;
        }
        if let Some(wanted) = trigger.object("attributeConstraints") {
            met(constraint::literal_with(
                wanted,
                message.attributes.as_ref(),
                &|pattern, text| trigger.finds(pattern, text),
            ))?;
        }
        let payload = self
            .event
            .payload
            .as_ref()
            .ok_or_else(|| No("the event has no payload".to_owned()))?;
        let parameters = match payload.get("parameters") {
            None => json!({}),
            Some(found @ (Value::Null | Value::Object(_))) => found.clone(),
            Some(_) => return Err("`parameters` of the payload is no object".into()),
        };
        let mut bound = trigger.clone();
        bound.put("subscriptionName", message.subscription.clone());
        bound.put("pubsubSystem", system);
        bound.put("parameters", parameters);
        bound.put("payload", payload.clone());
        bound.put("eventId", self.event_id());
        let given = |name: &str| {
            payload
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.trim().is_empty())
        };
        if let (Some(link), Some(text)) = (given("link"), given("linkText")) {
            bound.put("link", link);
            bound.put("linkText", text);
        }
        Ok((bound, message.artifacts.clone()))
    }

    fn build(
        &self,
        content: Option<&BuildContent>,
        trigger: &Trigger,
        settings: &Settings,
    ) -> Bound {
        let content = content.ok_or_else(|| No("the event names no project".to_owned()))?;
        if !content.succeeded {
            return Err("the build is not over or did not succeed".into());
        }
        let job = required(trigger, "job")?;
        let master = required(trigger, "master")?;
        for (name, wanted, found) in [
            ("job", job, content.job.as_deref()),
            ("master", master, content.master.as_deref()),
        ] {
            if found != Some(wanted) {
                return Err(differs(name, found, wanted));
            }
        }
        let properties = settings
            .build_service
            .map(|service| build_properties(service, content, trigger));
        if let Some(wanted) = trigger.object("payloadConstraints") {
            let found = match &properties {
                None | Some(None) => Map::new(),
                Some(Some(Value::Object(map))) => map.clone(),
                Some(Some(_)) => return Err("the build has no properties".into()),
            };
            met(constraint::literal_with(
                wanted,
                Some(&found),
                &|pattern, text| trigger.finds(pattern, text),
            ))?;
        }
        let mut bound = trigger.clone();
        bound.put("buildNumber", content.number);
        bound.put("hash", Value::Null);
        bound.put("tag", Value::Null);
        bound.put("eventId", self.event_id());
        bound.put("link", content.url.clone());
        let Some(service) = settings.build_service else {
            return Ok((bound, Vec::new()));
        };
        if let (Some(build), Some(Some(properties))) = (build_info(service, content), properties) {
            bound.put("buildInfo", build);
            bound.put("properties", properties);
        }
        let artifacts = build_artifacts(service, content, &bound).unwrap_or_default();
        Ok((bound, artifacts))
    }

    fn search(&self, field: &str, found: &FoundContent, trigger: &Trigger) -> Bound {
        let wanted = required(trigger, field)?;
        if self.event.content.is_none() {
            return Err("the event has no content".into());
        }
        if found.name.as_deref() != Some(wanted) {
            return Err(differs(field, found.name.as_deref(), wanted));
        }
        let mut bound = trigger.clone();
        bound.put(field, wanted);
        bound.put("eventId", self.event_id());
        Ok((bound, found.artifact.clone().into_iter().collect()))
    }

    fn plugin(&self, trigger: &Trigger) -> Bound {
        let found = self
            .event
            .attributes
            .as_ref()
            .and_then(|attributes| attributes.get("pluginEventType").cloned().flatten())
            .unwrap_or_else(|| "PUBLISHED".to_owned());
        let wanted = trigger.text("pluginEventType").unwrap_or("PUBLISHED");
        if !same_ignoring_case(&found, wanted) {
            return Err(differs("pluginEventType", Some(&found), wanted));
        }
        let content = self
            .event
            .content
            .as_ref()
            .ok_or_else(|| No("the event has no content".to_owned()))?;
        let mut bound = trigger.clone();
        bound.put("pluginEventType", found);
        for field in [
            "pluginId",
            "description",
            "provider",
            "version",
            "releaseDate",
            "requires",
            "binaryUrl",
            "sha512sum",
        ] {
            let text = content.get(field).filter(|value| !value.is_null());
            bound.put(field, text.map(java_text));
        }
        bound.put(
            "parsedRequires",
            content.get("parsedRequires").cloned().unwrap_or_default(),
        );
        Ok((bound, Vec::new()))
    }
}

/// A plugin's content has to be readable; what it holds is copied later.
fn plugin_content(content: &Map<String, Value>) -> Result<(), Unreadable> {
    for field in [
        "pluginId",
        "description",
        "provider",
        "version",
        "releaseDate",
        "requires",
        "binaryUrl",
        "sha512sum",
        "lastModified",
    ] {
        crate::json::text(field, content.get(field).unwrap_or(&Value::Null))?;
    }
    crate::json::boolean(
        "preferred",
        content.get("preferred").unwrap_or(&Value::Null),
    )?;
    Ok(())
}

fn event_tag(content: &RegistryContent) -> Result<&str, No> {
    content
        .tag
        .as_deref()
        .filter(|tag| !tag.is_empty())
        .ok_or_else(|| No("the event has no tag".to_owned()))
}

/// A blank tag is any but `latest`.
fn tag_matches(trigger: &Trigger, tag: &str) -> Result<(), No> {
    let pattern = trigger
        .text("tag")
        .map(|tag| tag.trim_matches(|c: char| c <= ' '))
        .filter(|tag| !tag.trim().is_empty());
    match pattern {
        None if tag == "latest" => {
            Err("no tag is given, and `latest` only matches where it is asked for".into())
        }
        None => Ok(()),
        Some(pattern) => full_match(trigger, "tag", pattern, tag),
    }
}

fn required<'a>(trigger: &'a Trigger, field: &str) -> Result<&'a str, No> {
    trigger
        .text(field)
        .ok_or_else(|| No(format!("the trigger has no `{field}`")))
}

fn required_text<'a>(trigger: &'a Trigger, field: &str) -> Result<&'a str, No> {
    required(trigger, field).and_then(|text| {
        if text.is_empty() {
            Err(No(format!("the trigger's `{field}` is empty")))
        } else {
            Ok(text)
        }
    })
}

fn differs(name: &str, found: Option<&str>, wanted: &str) -> No {
    match found {
        Some(found) => No(format!("{name} `{found}` is not `{wanted}`")),
        None => No(format!(
            "the event has no {name}, the trigger wants `{wanted}`"
        )),
    }
}

fn full_match(trigger: &Trigger, name: &str, pattern: &str, text: &str) -> Result<(), No> {
    match trigger.pattern.matches(pattern, text) {
        Ok(true) => Ok(()),
        Ok(false) => Err(No(format!("{name} `{text}` does not match `{pattern}`"))),
        Err(error) => Err(No(format!(
            "the {name} `{pattern}` cannot be compared: {error}"
        ))),
    }
}

fn met(verdict: constraint::Verdict) -> Result<(), No> {
    match verdict {
        Ok(None) => Ok(()),
        Ok(Some(unmet)) => Err(No(unmet)),
        Err(error) => Err(No(error.to_string())),
    }
}

/// Why a trigger matched, in a few words: what was found, and what was asked for.
fn reason(asked: &Trigger, bound: &Trigger) -> String {
    let field = match bound.kind.as_deref() {
        Some("git") => "branch",
        Some("docker" | "helm/oci" | "ecr") => "tag",
        Some("helm") => "version",
        Some("pubsub") => "subscriptionName",
        Some("artifactory") => "artifactorySearchName",
        Some("nexus") => "nexusSearchName",
        Some("plugin") => "pluginEventType",
        Some(kind) if BUILD_TYPES.contains(&kind) => "job",
        _ => "source",
    };
    let wanted = asked
        .text(field)
        .map(str::trim)
        .filter(|text| !text.is_empty());
    match (bound.text(field), wanted) {
        (Some(found), Some(wanted)) => format!("{field} `{found}` matches `{wanted}`"),
        (Some(found), None) if field == "tag" => format!("tag `{found}` is not `latest`"),
        (Some(found), None) => format!("{field} `{found}`: the trigger takes any"),
        _ => "everything that the trigger asks for matches".to_owned(),
    }
}

/// The properties that the build service gives; none if the call failed.
pub(crate) fn build_properties(
    service: &BuildService,
    content: &BuildContent,
    trigger: &Trigger,
) -> Option<Value> {
    let master = content.master.as_deref()?;
    let given = trigger.text("propertyFile").filter(|file| !file.is_empty());
    // Travis has one property file, which needs no name.
    let has_file = given.is_some() || master.contains("travis");
    let has_job = content.job.as_deref().is_some_and(|job| !job.is_empty());
    if has_file && has_job && !master.is_empty() {
        return service.call("properties");
    }
    Some(json!({}))
}

/// The build as the service tells it; none if the call failed.
pub(crate) fn build_info(service: &BuildService, content: &BuildContent) -> Option<Value> {
    let named = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if named(&content.master) && named(&content.job) {
        return service.call("build");
    }
    Some(json!({}))
}

/// Artifacts of the build, of the property file and of the build's description; none if one cannot be had.
pub(crate) fn build_artifacts(
    service: &BuildService,
    content: &BuildContent,
    trigger: &Trigger,
) -> Option<Vec<Artifact>> {
    let mut artifacts = content.artifacts.clone();
    let named = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
    if named(content.master.as_deref())
        && named(content.job.as_deref())
        && named(trigger.text("propertyFile"))
    {
        let found = service.call("artifacts")?;
        artifacts.extend(
            Artifact::read_list("artifacts", &found)
                .ok()?
                .unwrap_or_default(),
        );
    }
    if let Some(found) = trigger
        .object("buildInfo")
        .and_then(|build| build.get("artifacts"))
    {
        artifacts.extend(
            Artifact::read_list("artifacts", found)
                .ok()?
                .unwrap_or_default(),
        );
    }
    Some(artifacts)
}
