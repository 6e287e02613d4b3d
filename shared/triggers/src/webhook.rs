//! Raw webhooks, read into events as Echo does: GitHub, GitLab, Bitbucket, Gitea, Gogs, Azure DevOps, registries.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::artifact::Artifact;
use crate::event::Event;
use crate::json::{self, MAX_DEPTH, Unreadable};

/// Largest body that is read.
pub const MAX_BODY: usize = 10 * 1024 * 1024;

/// Most headers, and bytes of them, that are kept.
const MAX_HEADERS: usize = 200;
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Most artifacts that one push names: a push of more files is one that nobody matches file by file.
const MAX_FILES: usize = 10_000;

/// What a webhook is.
#[derive(Clone, Debug)]
pub enum Received {
    /// It may start pipelines.
    Event(Box<Event>),
    /// It is genuine and starts nothing: 200.
    NothingToDo(String),
}

/// Why a webhook is refused: 400, or 413 for what is too large.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum Refused {
    /// The body is too large.
    #[error("the body has {0} bytes; at most {MAX_BODY} are read")]
    TooLarge(usize),
    /// The headers are too many or too long.
    #[error("the headers are too many or too long")]
    Headers,
    /// The body is no JSON object.
    #[error("the body is no JSON object: {0}")]
    Body(String),
    /// The body nests too deeply.
    #[error("the body is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// A field has a type that cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A field that such an event has is missing.
    #[error("the body has no `{0}`")]
    Missing(&'static str),
    /// No source control system of this name is known.
    #[error(
        "`{0}` is no source of git events: github, gitlab, bitbucket, stash, gitea, gogs, azure are"
    )]
    UnknownSource(String),
}

impl Refused {
    /// The HTTP status to answer with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLarge(_) => 413,
            _ => 400,
        }
    }
}

/// What reading a body came to, short of an event.
enum Stop {
    Nothing(String),
    Refused(Refused),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Unreadable> for Stop {
    fn from(error: Unreadable) -> Self {
        Self::Refused(error.into())
    }
}

pub(crate) type Headers = BTreeMap<String, Vec<String>>;

/// Reads `POST /webhooks/{kind}/{source}`. The names of headers ignore case.
///
/// # Errors
/// [`Refused`], in time and memory bounded by the size of the body.
pub fn receive(
    kind: &str,
    source: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Result<Received, Refused> {
    if body.len() > MAX_BODY {
        return Err(Refused::TooLarge(body.len()));
    }
    let header_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if headers.len() > MAX_HEADERS || header_bytes > MAX_HEADER_BYTES {
        return Err(Refused::Headers);
    }
    let mut named = Headers::new();
    for (name, value) in headers {
        named
            .entry(name.to_ascii_lowercase())
            .or_default()
            .push(value.clone());
    }
    let raw = std::str::from_utf8(body).map_err(|error| Refused::Body(error.to_string()))?;
    if kind == "cdevents" {
        return cdevent(source, named, raw, body);
    }
    let posted = posted(raw, source)?;
    let mut content = posted.clone();
    if let Some(key) = first(&named, "x-event-key") {
        content.insert("event_type".to_owned(), key.into());
    }
    let read = if kind == "git" {
        git(source, &named, raw, &mut content)
    } else {
        Ok(())
    };
    let read = read.and_then(|()| {
        if !is_given(content.get("artifacts")) {
            let found = extracted(kind, source, &posted)?;
            content.insert(
                "artifacts".to_owned(),
                found.iter().map(Artifact::to_json).collect(),
            );
        }
        Ok(())
    });
    match read {
        Err(Stop::Nothing(reason)) => Ok(Received::NothingToDo(reason)),
        Err(Stop::Refused(refused)) => Err(refused),
        Ok(()) => {
            let id = event_id(kind, source, &named, body);
            Ok(Received::Event(Box::new(Event {
                kind: kind.to_owned(),
                source: Some(source.to_owned()),
                headers: Some(event_headers(named)),
                content: Some(content),
                payload: Some(posted),
                raw_content: Some(raw.to_owned()),
                event_id: Some(id),
                ..Event::default()
            })))
        }
    }
}

fn event_headers(named: Headers) -> BTreeMap<String, Option<Vec<Option<String>>>> {
    named
        .into_iter()
        .map(|(name, values)| (name, Some(values.into_iter().map(Some).collect())))
        .collect()
}

/// The same for every delivery of the same event: the sender's id of the delivery, or a hash of what was sent.
pub(crate) fn event_id(kind: &str, source: &str, headers: &Headers, body: &[u8]) -> String {
    let given = [
        "x-github-delivery",
        "x-gitea-delivery",
        "x-gogs-delivery",
        "x-gitlab-event-uuid",
        "x-request-uuid",
        "x-request-id",
        "ce-id",
    ]
    .into_iter()
    .find_map(|name| first(headers, name))
    .filter(|id| !id.is_empty() && id.len() <= 128);
    match given {
        Some(id) => id.to_owned(),
        None => {
            let mut hash = Sha256::new();
            for part in [kind.as_bytes(), source.as_bytes(), body] {
                hash.update(part.len().to_le_bytes());
                hash.update(part);
            }
            hex::encode(hash.finalize())
        }
    }
}

fn first<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.get(name)?.first().map(String::as_str)
}

/// The body as an object. An empty one is one from Bitbucket, whose pings have none.
pub(crate) fn posted(raw: &str, source: &str) -> Result<Map<String, Value>, Refused> {
    if raw.is_empty() && source == "bitbucket" {
        return Ok(Map::new());
    }
    if json::depth(raw.as_bytes()) > MAX_DEPTH {
        return Err(Refused::TooDeep);
    }
    let mut reader = serde_json::Deserializer::from_str(raw);
    match Value::deserialize(&mut reader) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(Refused::Body("it is something else".to_owned())),
        Err(error) => Err(Refused::Body(error.to_string())),
    }
}

/// Whether a value counts as one: not null, false, 0 or empty.
fn is_given(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
    }
}

/// An object whose fields are read by their types; a missing one has none.
#[derive(Clone, Copy)]
struct Node<'a>(Option<&'a Map<String, Value>>);

impl<'a> Node<'a> {
    fn exists(self) -> bool {
        self.0.is_some()
    }

    fn value(self, field: &str) -> &'a Value {
        static NULL: Value = Value::Null;
        self.0.and_then(|map| map.get(field)).unwrap_or(&NULL)
    }

    fn has(self, field: &str) -> bool {
        self.0.is_some_and(|map| map.contains_key(field))
    }

    fn node(self, field: &str) -> Result<Self, Unreadable> {
        json::object(field, self.value(field)).map(Self)
    }

    fn text(self, field: &str) -> Result<Option<String>, Unreadable> {
        json::text(field, self.value(field))
    }

    fn or_empty(self, field: &str) -> Result<String, Unreadable> {
        Ok(self.text(field)?.unwrap_or_default())
    }

    fn nodes(self, field: &str) -> Result<Option<Vec<Self>>, Unreadable> {
        json::list(field, self.value(field))?
            .map(|items| {
                items
                    .iter()
                    .map(|item| json::object(field, item).map(Node))
                    .collect()
            })
            .transpose()
    }

    fn texts(self, field: &str) -> Result<Option<Vec<Option<String>>>, Unreadable> {
        json::texts(field, self.value(field))
    }
}

/// What a git event is about.
#[derive(Default)]
struct Git {
    project: Option<String>,
    slug: Option<String>,
    hash: Option<String>,
    branch: Option<String>,
    action: Option<String>,
    more: Vec<(&'static str, Option<String>)>,
}

impl Git {
    fn write(self, content: &mut Map<String, Value>) {
        let fields = [
            ("repoProject", self.project),
            ("slug", self.slug),
            ("hash", self.hash),
            ("branch", self.branch),
            ("action", self.action),
        ];
        for (name, value) in fields.into_iter().chain(self.more) {
            content.insert(name.to_owned(), value.into());
        }
    }
}

/// Hash of what does not exist: the branch was deleted.
const NOTHING: &str = "000000000";

fn branch_of(reference: &str) -> String {
    reference.replace("refs/heads/", "")
}

fn git(
    source: &str,
    headers: &Headers,
    raw: &str,
    content: &mut Map<String, Value>,
) -> Result<(), Stop> {
    let before = content.clone();
    let body = Node(Some(&before));
    let found = match source {
        "github" => github(body, headers)?,
        "gitlab" => gitlab(body)?,
        "stash" => stash(body)?,
        "bitbucket" => {
            if raw.is_empty() {
                return Err(Stop::Nothing("Bitbucket says hello".to_owned()));
            }
            match bitbucket(body)? {
                Some(found) => found,
                None => {
                    return deleted(body.text("hash")?.as_deref());
                }
            }
        }
        "gitea" | "gogs" => gitea(source, body, headers)?,
        "azure" => azure(body)?,
        other => return Err(Refused::UnknownSource(other.to_owned()).into()),
    };
    let hash = found.hash.clone();
    found.write(content);
    // As in the original, the ends of branches on GitHub and GitLab are events like others.
    if source == "github" || source == "gitlab" {
        return Ok(());
    }
    deleted(hash.as_deref())
}

/// A branch that was deleted starts nothing.
fn deleted(hash: Option<&str>) -> Result<(), Stop> {
    if hash.is_some_and(|hash| hash.starts_with(NOTHING)) {
        return Err(Stop::Nothing("the branch or tag was deleted".to_owned()));
    }
    Ok(())
}

fn github(body: Node, headers: &Headers) -> Result<Git, Stop> {
    if body.has("hook_id") {
        return Err(Stop::Nothing("GitHub says hello".to_owned()));
    }
    if body.has("pull_request") {
        let repository = body.node("repository")?;
        let owner = repository.node("owner")?;
        let request = body.node("pull_request")?;
        let head = request.node("head")?;
        repository.text("full_name")?;
        let mut found = Git {
            project: Some(owner.or_empty("login")?),
            slug: Some(repository.or_empty("name")?),
            hash: Some(head.or_empty("sha")?),
            branch: Some(head.or_empty("ref")?),
            action: Some(format!("pull_request:{}", body.or_empty("action")?)),
            more: Vec::new(),
        };
        if request.exists() {
            let number = json::integer("number", request.value("number"))?.unwrap_or(0);
            let draft = json::nullable_boolean("draft", request.value("draft"))?;
            found.more = vec![
                ("number", Some(number.to_string())),
                (
                    "draft",
                    Some(draft.map_or_else(|| "null".to_owned(), |draft| draft.to_string())),
                ),
                ("state", request.text("state")?),
                ("title", request.text("title")?),
            ];
        }
        return Ok(found);
    }
    if body.value("ref_type") == "branch" {
        let repository = body.node("repository")?;
        let owner = repository.node("owner")?;
        let event = first(headers, "x-github-event").ok_or_else(|| {
            Stop::Nothing(
                "a branch was created or deleted; the header does not say which".to_owned(),
            )
        })?;
        body.text("action")?;
        repository.text("full_name")?;
        return Ok(Git {
            project: Some(owner.or_empty("login")?),
            slug: Some(repository.or_empty("name")?),
            hash: Some(String::new()),
            branch: Some(body.or_empty("ref")?),
            action: Some(format!("branch:{event}")),
            more: Vec::new(),
        });
    }
    let repository = body.node("repository")?;
    repository.text("full_name")?;
    Ok(Git {
        project: Some(repository.node("owner")?.or_empty("name")?),
        slug: Some(repository.or_empty("name")?),
        hash: Some(body.or_empty("after")?),
        branch: Some(branch_of(&body.or_empty("ref")?)),
        action: Some("push:push".to_owned()),
        more: Vec::new(),
    })
}

fn gitlab(body: Node) -> Result<Git, Stop> {
    let kind = body.text("object_kind")?;
    let project = body.node("project")?;
    let (hash, reference) = (body.text("after")?, body.text("ref")?);
    let (name, namespace) = (project.text("name")?, project.text("namespace")?);
    let is_push = matches!(kind.as_deref(), Some("push" | "tag_push") | None);
    let missing = |field: &'static str| {
        if is_push {
            Stop::Refused(Refused::Missing(field))
        } else {
            Stop::Nothing(format!(
                "a `{}` of GitLab names no branch of a project",
                kind.as_deref().unwrap_or_default()
            ))
        }
    };
    let reference = reference.ok_or_else(|| missing("ref"))?;
    if !project.exists() {
        return Err(missing("project"));
    }
    Ok(Git {
        project: namespace,
        slug: name,
        hash,
        branch: Some(branch_of(&reference)),
        action: kind,
        more: Vec::new(),
    })
}

fn stash(body: Node) -> Result<Git, Stop> {
    let name = if body.has("refChanges") {
        "refChanges"
    } else {
        "changes"
    };
    let changes = body.nodes(name)?;
    let repository = body.node("repository")?;
    let project = repository.node("project")?;
    let Some(change) = changes.unwrap_or_default().first().copied() else {
        return Err(Stop::Nothing(
            "the event names no change of a branch".to_owned(),
        ));
    };
    if !repository.exists() || !project.exists() {
        return Err(Refused::Missing("repository.project").into());
    }
    let hash = change.text("toHash")?;
    let reference = change.text("refId")?.ok_or(Refused::Missing("refId"))?;
    Ok(Git {
        project: project.text("key")?,
        slug: repository.text("slug")?,
        hash: Some(hash.ok_or(Refused::Missing("toHash"))?),
        branch: Some(branch_of(&reference)),
        action: Some(String::new()),
        more: Vec::new(),
    })
}

/// None for an event that is passed on as it is.
fn bitbucket(body: Node) -> Result<Option<Git>, Stop> {
    if !body.has("event_type") {
        return Ok(None);
    }
    let kind = match body.value("event_type") {
        Value::Null => return Err(Refused::Missing("event_type").into()),
        value => json::java_text(value),
    };
    let found = match kind.as_str() {
        "repo:push" | "pullrequest:fulfilled" => bitbucket_cloud(body, &kind)?,
        "repo:refs_changed" => bitbucket_refs(body)?,
        "pr:merged" => bitbucket_merged(body)?,
        "pr:opened" | "pr:from_ref_updated" | "pr:declined" | "pr:deleted" => {
            bitbucket_request(body)?
        }
        _ => return Ok(None),
    };
    if found.hash.is_none() {
        return Err(Stop::Nothing(format!("the `{kind}` names no commit")));
    }
    Ok(Some(Git {
        action: Some(kind),
        ..found
    }))
}

fn bitbucket_cloud(body: Node, kind: &str) -> Result<Git, Stop> {
    let repository = body.node("repository")?;
    let (owner, project) = (repository.node("owner")?, repository.node("project")?);
    let mut name = owner.or_empty("username")?;
    if name.is_empty() {
        name = project.or_empty("key")?;
    }
    let request = body.node("pullrequest")?;
    let push = body.node("push")?;
    let mut found = Git {
        project: Some(name),
        slug: Some(repository.or_empty("full_name")?),
        hash: Some(String::new()),
        branch: Some(String::new()),
        ..Git::default()
    };
    let changes = push.nodes("changes")?;
    for change in changes.iter().flatten() {
        change.node("new")?.text("name")?;
        for commit in change.nodes("commits")?.unwrap_or_default() {
            commit.text("hash")?;
        }
    }
    let destination = request
        .node("destination")?
        .node("branch")?
        .or_empty("name")?;
    let merged = request.node("merge_commit")?.or_empty("hash")?;
    if request.exists() {
        found.hash = Some(merged);
        found.branch = Some(destination);
    } else if push.exists() {
        let Some(changes) = changes else {
            return Err(Refused::Missing("push.changes").into());
        };
        if let Some(change) = changes.first() {
            if !change.exists() {
                return Err(Refused::Missing("push.changes").into());
            }
            found.branch = Some(change.node("new")?.or_empty("name")?);
            let Some(commits) = change.nodes("commits")? else {
                return Err(Stop::Nothing("the push has no commits: a tag".to_owned()));
            };
            if let Some(commit) = commits.first() {
                if !commit.exists() {
                    return Err(Refused::Missing("push.changes.commits").into());
                }
                found.hash = Some(commit.or_empty("hash")?);
            }
        }
    }
    if !repository.has("full_name") || repository.value("full_name").is_null() {
        return Err(Stop::Nothing(format!("the `{kind}` names no repository")));
    }
    Ok(found)
}

fn bitbucket_refs(body: Node) -> Result<Git, Stop> {
    let repository = body.node("repository")?;
    let project = repository.node("project")?;
    let changes = body.nodes("changes")?;
    for change in changes.iter().flatten() {
        change.node("ref")?.text("id")?;
        change.text("toHash")?;
    }
    if !repository.exists() || !project.exists() {
        return Err(Refused::Missing("repository.project").into());
    }
    let Some(changes) = changes else {
        return Err(Refused::Missing("changes").into());
    };
    let mut found = Git {
        project: Some(project.or_empty("key")?),
        slug: Some(repository.or_empty("slug")?),
        ..Git::default()
    };
    if let Some(change) = changes.first() {
        if !change.exists() {
            return Err(Refused::Missing("changes").into());
        }
        found.hash = Some(change.or_empty("toHash")?);
        let reference = change.node("ref")?;
        if reference.exists() {
            found.branch = Some(branch_of(&reference.or_empty("id")?));
        }
    }
    repository
        .text("name")?
        .ok_or(Refused::Missing("repository.name"))?;
    Ok(found)
}

/// The reference of a pull request in Bitbucket Server.
fn bitbucket_reference(reference: Node, found: &mut Git) -> Result<(), Stop> {
    let repository = reference.node("repository")?;
    let project = repository.node("project")?;
    found.branch = Some(branch_of(&reference.or_empty("id")?));
    if repository.exists() {
        if !project.exists() {
            return Err(Refused::Missing("repository.project").into());
        }
        found.project = Some(project.or_empty("key")?);
        found.slug = Some(repository.or_empty("slug")?);
    }
    Ok(())
}

/// The pull request, every field of which can be read.
fn readable_request(body: Node<'_>) -> Result<Node<'_>, Unreadable> {
    let request = body.node("pullRequest")?;
    for side in ["fromRef", "toRef"] {
        let reference = request.node(side)?;
        let repository = reference.node("repository")?;
        for (node, fields) in [
            (reference, ["id", "latestCommit"]),
            (repository, ["name", "slug"]),
            (repository.node("project")?, ["key", "key"]),
        ] {
            for field in fields {
                node.text(field)?;
            }
        }
    }
    let merged = request.node("properties")?.node("mergeCommit")?;
    merged.text("id")?;
    Ok(request)
}

fn bitbucket_request(body: Node) -> Result<Git, Stop> {
    let request = readable_request(body)?;
    let from = request.node("fromRef")?;
    let mut found = Git::default();
    if !from.exists() {
        return Err(Stop::Nothing("the pull request names no branch".to_owned()));
    }
    bitbucket_reference(from, &mut found)?;
    found.hash = from.text("latestCommit")?;
    Ok(found)
}

fn bitbucket_merged(body: Node) -> Result<Git, Stop> {
    let request = readable_request(body)?;
    if !request.exists() {
        return Err(Refused::Missing("pullRequest").into());
    }
    let to = request.node("toRef")?;
    let merged = request.node("properties")?.node("mergeCommit")?;
    let mut found = Git::default();
    if !to.exists() {
        return Err(Stop::Nothing("the pull request names no branch".to_owned()));
    }
    bitbucket_reference(to, &mut found)?;
    let repository = to.node("repository")?;
    if repository.has("name") && repository.value("name").is_null() {
        return Err(Refused::Missing("toRef.repository.name").into());
    }
    if merged.exists() {
        found.hash = Some(merged.or_empty("id")?);
    }
    Ok(found)
}

/// Gitea and Gogs speak GitHub's language with small differences.
fn gitea(source: &str, body: Node, headers: &Headers) -> Result<Git, Stop> {
    let event = first(headers, &format!("x-{source}-event")).unwrap_or("push");
    let repository = body.node("repository")?;
    let owner = repository.node("owner")?;
    if !repository.exists() {
        return Err(Refused::Missing("repository").into());
    }
    let project = match owner.text("username")?.filter(|name| !name.is_empty()) {
        Some(name) => Some(name),
        None => owner.text("login")?,
    };
    let slug = repository.text("name")?;
    match event {
        "push" => Ok(Git {
            project,
            slug,
            hash: body.text("after")?,
            branch: Some(branch_of(
                &body.text("ref")?.ok_or(Refused::Missing("ref"))?,
            )),
            action: Some("push:push".to_owned()),
            more: Vec::new(),
        }),
        "pull_request" => {
            let request = body.node("pull_request")?;
            let head = request.node("head")?;
            let number = json::integer("number", request.value("number"))?.unwrap_or(0);
            Ok(Git {
                project,
                slug,
                hash: head.text("sha")?,
                branch: head.text("ref")?,
                action: Some(format!("pull_request:{}", body.or_empty("action")?)),
                more: vec![
                    ("number", Some(number.to_string())),
                    ("state", request.text("state")?),
                    ("title", request.text("title")?),
                ],
            })
        }
        other => Err(Stop::Nothing(format!(
            "events of type `{other}` start nothing"
        ))),
    }
}

/// Service hooks of Azure DevOps.
fn azure(body: Node) -> Result<Git, Stop> {
    let kind = body
        .text("eventType")?
        .ok_or(Refused::Missing("eventType"))?;
    let resource = body.node("resource")?;
    let repository = resource.node("repository")?;
    let project = repository.node("project")?.text("name")?;
    let slug = repository.text("name")?;
    match kind.as_str() {
        "git.push" => {
            let updates = resource.nodes("refUpdates")?.unwrap_or_default();
            let Some(update) = updates.first() else {
                return Err(Stop::Nothing("the push updates no branch".to_owned()));
            };
            Ok(Git {
                project,
                slug,
                hash: update.text("newObjectId")?,
                branch: Some(branch_of(&update.or_empty("name")?)),
                action: Some("push:push".to_owned()),
                more: Vec::new(),
            })
        }
        kind if kind.starts_with("git.pullrequest.") => {
            let number = json::integer("pullRequestId", resource.value("pullRequestId"))?;
            let draft = json::nullable_boolean("isDraft", resource.value("isDraft"))?;
            Ok(Git {
                project,
                slug,
                hash: resource.node("lastMergeSourceCommit")?.text("commitId")?,
                branch: Some(branch_of(&resource.or_empty("sourceRefName")?)),
                action: Some(format!(
                    "pull_request:{}",
                    kind.trim_start_matches("git.pullrequest.")
                )),
                more: vec![
                    ("number", Some(number.unwrap_or(0).to_string())),
                    ("draft", draft.map(|draft| draft.to_string())),
                    ("state", resource.text("status")?),
                    ("title", resource.text("title")?),
                ],
            })
        }
        other => Err(Stop::Nothing(format!(
            "events of type `{other}` start nothing"
        ))),
    }
}

/// A CloudEvent whose data, in a header, is a CDEvent.
fn cdevent(source: &str, headers: Headers, _raw: &str, body: &[u8]) -> Result<Received, Refused> {
    let data = first(&headers, "ce-data")
        .ok_or(Refused::Missing("ce-data"))?
        .to_owned();
    let posted = posted(&data, source)?;
    let node = Node(Some(&posted));
    for field in ["customData", "context", "subject"] {
        if !is_given(posted.get(field))
            && (field != "customData" || posted.get(field).is_none_or(Value::is_null))
        {
            return Err(Refused::Missing(match field {
                "customData" => "customData",
                "context" => "context",
                _ => "subject",
            }));
        }
    }
    let custom = node.node("customData")?;
    let mut content = Map::new();
    for field in ["artifacts", "parameters"] {
        let value = custom.value(field);
        if is_given(Some(value)) {
            content.insert(field.to_owned(), value.clone());
        }
    }
    let id = event_id("cdevents", source, &headers, body);
    Ok(Received::Event(Box::new(Event {
        kind: "cdevents".to_owned(),
        source: Some(source.to_owned()),
        headers: Some(event_headers(headers)),
        content: Some(content),
        payload: Some(posted.clone()),
        raw_content: Some(data),
        event_id: Some(id),
        ..Event::default()
    })))
}

/// The artifacts that a body of a known form names.
fn extracted(kind: &str, source: &str, posted: &Map<String, Value>) -> Result<Vec<Artifact>, Stop> {
    let body = Node(Some(posted));
    match (kind, source) {
        ("git", "github") => pushed_to_github(body),
        ("git", "gitlab") => pushed_to_gitlab(body),
        (_, "dockerhub") => Ok(docker_hub(body)?),
        (_, "dockerregistry") => docker_registry(body),
        (_, "quay") => quay(body),
        (_, source) if crate::event::same_ignoring_case(source, "nexus") => Ok(nexus(body)?),
        _ => Ok(Vec::new()),
    }
}

/// Files that the commits of a push added or changed, each once.
fn changed_files(body: Node) -> Result<Vec<Option<String>>, Stop> {
    if !body.has("commits") {
        return Ok(Vec::new());
    }
    let commits = body.nodes("commits")?;
    let mut files = std::collections::BTreeSet::new();
    for commit in commits.ok_or_else(|| Stop::Nothing("the push has no commits".to_owned()))? {
        for field in ["added", "modified"] {
            if !commit.exists() {
                return Err(Refused::Missing("commits").into());
            }
            if !commit.has(field) {
                continue;
            }
            let found = commit.texts(field)?;
            files.extend(found.ok_or(Refused::Missing("commits.added"))?);
        }
    }
    Ok(files.into_iter().take(MAX_FILES).collect())
}

fn pushed_to_github(body: Node) -> Result<Vec<Artifact>, Stop> {
    let sha = body.text("after")?;
    let repository = body.node("repository")?;
    let contents = repository.text("contents_url")?;
    changed_files(body)?
        .into_iter()
        .map(|file| {
            let contents = contents
                .as_deref()
                .ok_or(Refused::Missing("repository.contents_url"))?;
            let path = file.clone().ok_or(Refused::Missing("commits.added"))?;
            Ok(Artifact {
                kind: Some("github/file".to_owned()),
                name: file,
                version: sha.clone(),
                reference: Some(contents.replace("{+path}", &path)),
                ..Artifact::default()
            })
        })
        .collect()
}

fn pushed_to_gitlab(body: Node) -> Result<Vec<Artifact>, Stop> {
    let sha = body.text("after")?;
    let project = body.node("project")?;
    let home = project.text("homepage")?;
    let path = project.text("path_with_namespace")?;
    let files = changed_files(body)?;
    let home = home.ok_or(Refused::Missing("project.homepage"))?;
    let path = path.ok_or(Refused::Missing("project.path_with_namespace"))?;
    let base = home.replace(&format!("/{path}"), "");
    let api = format!(
        "{base}/api/v4/projects/{}/repository/files",
        form_encoded(&path)
    );
    files
        .into_iter()
        .map(|file| {
            let path = file.clone().ok_or(Refused::Missing("commits.added"))?;
            Ok(Artifact {
                kind: Some("gitlab/file".to_owned()),
                name: file,
                version: sha.clone(),
                reference: Some(format!("{api}/{}/raw", form_encoded(&path))),
                ..Artifact::default()
            })
        })
        .collect()
}

/// Java's `URLEncoder`: a blank is a plus.
fn form_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn or_null(text: Option<&str>) -> &str {
    text.unwrap_or("null")
}

fn image(name: String, version: Option<String>, separator: char) -> Artifact {
    Artifact {
        kind: Some("docker/image".to_owned()),
        reference: Some(format!("{name}{separator}{}", or_null(version.as_deref()))),
        name: Some(name),
        version,
        ..Artifact::default()
    }
}

fn docker_hub(body: Node) -> Result<Vec<Artifact>, Unreadable> {
    let callback = body.text("callback_url")?;
    let (repository, push) = (body.node("repository")?, body.node("push_data")?);
    let (name, tag) = (repository.text("repo_name")?, push.text("tag")?);
    let pusher = push.or_empty("pusher")?;
    if !repository.exists() || !push.exists() {
        return Ok(Vec::new());
    }
    let mut found = image(
        format!("index.docker.io/{}", or_null(name.as_deref())),
        tag,
        ':',
    );
    found.provenance = callback;
    found.metadata.insert("pusher".to_owned(), pusher.into());
    Ok(vec![found])
}

const MANIFESTS: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

fn docker_registry(body: Node) -> Result<Vec<Artifact>, Stop> {
    let events = body.nodes("events")?;
    let mut found = Vec::new();
    for event in events.ok_or(Refused::Missing("events"))? {
        let (target, request) = (event.node("target")?, event.node("request")?);
        let action = event
            .text("action")?
            .ok_or(Refused::Missing("events.action"))?;
        let (media, repository) = (target.text("mediaType")?, target.text("repository")?);
        let (tag, digest) = (target.text("tag")?, target.text("digest")?);
        let host = request.text("host")?;
        if action != "push" || !target.exists() {
            continue;
        }
        let media = media.ok_or(Refused::Missing("events.target.mediaType"))?;
        let (Some(repository), true) = (repository, MANIFESTS.contains(&media.as_str())) else {
            continue;
        };
        let host = host.map(|host| format!("{host}/")).unwrap_or_default();
        let name = format!("{host}{repository}");
        match (tag, digest) {
            (Some(tag), _) => found.push(image(name, Some(tag), ':')),
            (None, Some(digest)) => found.push(image(name, Some(digest), '@')),
            (None, None) => {}
        }
    }
    Ok(found)
}

fn quay(body: Node) -> Result<Vec<Artifact>, Stop> {
    let repository = body.text("repository")?;
    let (home, url) = (body.text("homepage")?, body.text("docker_url")?);
    let tags = body.texts("updated_tags")?;
    if repository.is_none() {
        return Ok(Vec::new());
    }
    let tags = tags.ok_or(Refused::Missing("updated_tags"))?;
    Ok(tags
        .into_iter()
        .map(|tag| {
            let mut found = image(or_null(url.as_deref()).to_owned(), tag, ':');
            found.name.clone_from(&url);
            found.provenance.clone_from(&home);
            found
        })
        .collect())
}

fn nexus(body: Node) -> Result<Vec<Artifact>, Unreadable> {
    let repository = body.text("repositoryName")?;
    let component = body.node("component")?;
    let (group, name) = (component.text("group")?, component.text("name")?);
    let version = component.text("version")?;
    if !component.exists() {
        return Ok(Vec::new());
    }
    let full = format!("{}:{}", or_null(group.as_deref()), or_null(name.as_deref()));
    Ok(vec![Artifact {
        kind: Some("maven/file".to_owned()),
        reference: Some(format!("{full}:{}", or_null(version.as_deref()))),
        name: Some(full),
        version,
        provenance: repository,
        ..Artifact::default()
    }])
}
