//! Events as they arrive on AWS: EventBridge, SNS, SQS, and webhooks in an envelope.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::event::Event;
use crate::inbound::{decoded, events};
use crate::json::{MAX_DEPTH, depth};
use crate::webhook::{MAX_BODY, Received, Refused};

/// Most messages of one delivery that are read; Lambda hands over 10,000 at most.
const MAX_MESSAGES: usize = 10_000;

/// Reads what arrived: `{"kind":"eventbridge|webhook|sqs|sns","path","headers","body"}`, or a bare EventBridge event,
/// SNS notification, delivery of SQS to a function, or event in Echo's own form.
///
/// # Errors
/// [`Refused`]: it cannot be read.
pub fn arrived(value: &Value) -> Result<Vec<Received>, Refused> {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    if value.get("details").is_some() {
        let event = Event::read(value)?;
        return Ok(vec![Received::Event(Box::new(event))]);
    }
    let body = || -> Result<Value, Refused> {
        match value.get("body") {
            Some(Value::String(body)) => document(body),
            Some(body) => Ok(body.clone()),
            None => Err(Refused::Missing("body")),
        }
    };
    match text("kind") {
        Some("webhook") => {
            let path = text("path").ok_or(Refused::Missing("path"))?;
            let mut parts = path
                .trim_matches('/')
                .split('/')
                .skip_while(|p| *p == "webhooks");
            let kind = parts.next().unwrap_or_default();
            let source = parts.next().unwrap_or_default();
            let headers: Vec<(String, String)> = value
                .get("headers")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect();
            let raw = text("body").unwrap_or_default();
            let decoded;
            let bytes = if value.get("isBase64Encoded") == Some(&Value::Bool(true)) {
                if raw.len() > MAX_BODY * 2 {
                    return Err(Refused::TooLarge(raw.len()));
                }
                decoded = STANDARD
                    .decode(raw)
                    .map_err(|error| Refused::Body(error.to_string()))?;
                decoded.as_slice()
            } else {
                raw.as_bytes()
            };
            events(kind, source, &headers, bytes)
        }
        Some("eventbridge") => Ok(vec![event_bridge(&body()?)?]),
        Some("sns" | "sqs") => queue(&delivered(value, None)?),
        _ if value.get("detail-type").is_some() => Ok(vec![event_bridge(value)?]),
        _ if value.get("Records").is_some() => queue(value),
        _ if value.get("TopicArn").is_some() => Ok(vec![notification(value)?]),
        _ => Err(Refused::Body(
            "it is no event of EventBridge, SNS or SQS, and has no `kind`".to_owned(),
        )),
    }
}

/// What Lambda hands to a function for `{"kind":"sqs|sns","path","headers","body"}`: a message (`body`) with attributes
/// (`headers`) in a queue or topic (`path`). A body that is such a delivery already, or a notification, is taken as it is.
///
/// `sent` is the message's id and its time, UTC milliseconds; without it the delivery has neither.
///
/// # Errors
/// There is no body, or it is too large or too deep.
pub fn delivered(value: &Value, sent: Option<(&str, i64)>) -> Result<Value, Refused> {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let body = match value.get("body") {
        Some(Value::String(body)) => body.clone(),
        Some(body) => body.to_string(),
        None => return Err(Refused::Missing("body")),
    };
    let parsed = match document(&body) {
        Ok(parsed) => parsed,
        Err(Refused::Body(_)) => Value::Null,
        Err(refused) => return Err(refused),
    };
    if parsed.get("Records").is_some() {
        return Ok(parsed);
    }
    let is_topic = text("kind") == Some("sns");
    if is_topic && parsed.get("TopicArn").is_some() {
        return Ok(json!({ "Records": [{ "EventSource": "aws:sns", "Sns": parsed }] }));
    }
    if parsed.get("eventSourceARN").is_some() {
        return Ok(json!({ "Records": [parsed] }));
    }
    let name = last_part(text("path").unwrap_or("messages").trim_matches('/'));
    let (id, at) = sent.unwrap_or(("message", 0));
    let attributes: Map<String, Value> = value
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let field = if is_topic { "Value" } else { "stringValue" };
            (name.clone(), json!({ field: value }))
        })
        .collect();
    Ok(if is_topic {
        let time = jiff::Timestamp::from_millisecond(at).map(|time| time.to_string());
        json!({ "Records": [{ "EventSource": "aws:sns", "Sns": {
            "Type": "Notification", "MessageId": id, "TopicArn": format!("arn:aws:sns:::{name}"),
            "Timestamp": time.unwrap_or_default(), "Message": body, "MessageAttributes": attributes,
        } }] })
    } else {
        json!({ "Records": [{
            "eventSource": "aws:sqs", "eventSourceARN": format!("arn:aws:sqs:::{name}"), "messageId": id,
            "attributes": { "SentTimestamp": at.to_string() }, "body": body, "messageAttributes": attributes,
        }] })
    })
}

fn document(text: &str) -> Result<Value, Refused> {
    if text.len() > MAX_BODY {
        return Err(Refused::TooLarge(text.len()));
    }
    if depth(text.as_bytes()) > MAX_DEPTH {
        return Err(Refused::TooDeep);
    }
    serde_json::from_str(text).map_err(|error| Refused::Body(error.to_string()))
}

fn event(
    kind: &str,
    source: &str,
    id: Option<&str>,
    content: Value,
    payload: Option<Value>,
) -> Received {
    let object = |value: Value| match value {
        Value::Object(map) => Some(map),
        _ => None,
    };
    Received::Event(Box::new(Event {
        kind: kind.to_owned(),
        source: Some(source.to_owned()),
        headers: Some(std::collections::BTreeMap::new()),
        content: object(content),
        payload: payload.and_then(object),
        event_id: id.map(str::to_owned),
        ..Event::default()
    }))
}

/// Reads an EventBridge event.
///
/// Image pushes to ECR are `docker` events, changes of CodeCommit repositories and commits that CodePipeline fetched by a
/// connection `git` events. Everything else is a
/// `pubsub` message of system `amazon` whose subscription is the event's `source` (`aws.codebuild`, `aws.s3`), whose
/// payload is the `detail`, and whose attributes are `source`, `detail-type`, `account` and `region`.
///
/// # Errors
/// A field that such an event has is missing.
pub fn event_bridge(value: &Value) -> Result<Received, Refused> {
    let mut received = bridged(value)?;
    // EventBridge takes events with such a source from AWS alone.
    let source = value.get("source").and_then(Value::as_str);
    if let Received::Event(event) = &mut received {
        event.by_aws = source.is_some_and(|source| source.starts_with("aws."));
    }
    Ok(received)
}

fn bridged(value: &Value) -> Result<Received, Refused> {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let kind = text("detail-type").ok_or(Refused::Missing("detail-type"))?;
    let detail = value.get("detail").cloned().unwrap_or_else(|| json!({}));
    let id = text("id");
    let account = text("account").unwrap_or_default();
    let region = text("region").unwrap_or_default();
    match kind {
        "ECR Image Action" => image_push(&detail, id, account, region),
        "CodeCommit Repository State Change" | "CodeCommit Pull Request State Change" => {
            Ok(code_commit(&detail, id, account, region))
        }
        "CodePipeline Action Execution State Change" if is_of_connection(&detail) => {
            Ok(connection_source(detail, id))
        }
        _ => {
            let source = text("source").ok_or(Refused::Missing("source"))?;
            let attributes = json!({
                "source": source, "detail-type": kind, "account": account, "region": region,
            });
            let artifacts = if source == "aws.s3" {
                s3_object(&detail).into_iter().collect()
            } else {
                Vec::new()
            };
            Ok(message(source, id, attributes, artifacts, detail))
        }
    }
}

/// Host of an ECR registry, as images are named.
#[must_use]
pub fn ecr_host(account: &str, region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("{account}.dkr.ecr.{region}.amazonaws.com{suffix}")
}

fn image_push(
    detail: &Value,
    id: Option<&str>,
    account: &str,
    region: &str,
) -> Result<Received, Refused> {
    let text = |field: &str| {
        detail
            .get(field)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let (action, result) = (
        text("action-type").unwrap_or(""),
        text("result").unwrap_or(""),
    );
    if action != "PUSH" || result != "SUCCESS" {
        return Ok(Received::NothingToDo(format!(
            "the image action is `{action}` with result `{result}`, not a successful push"
        )));
    }
    let Some(tag) = text("image-tag") else {
        return Ok(Received::NothingToDo("the image has no tag".to_owned()));
    };
    let repository = text("repository-name").ok_or(Refused::Missing("detail.repository-name"))?;
    for (field, value) in [("account", account), ("region", region)] {
        if value.is_empty() {
            return Err(Refused::Missing(field));
        }
    }
    let host = ecr_host(account, region);
    Ok(event(
        "docker",
        "aws.ecr",
        id,
        json!({
            "account": host, "registry": host, "repository": repository, "tag": tag,
            "digest": text("image-digest"),
        }),
        None,
    ))
}

/// A change of a CodeCommit repository: source `codecommit`, project `<account>/<region>`, slug the repository's name.
fn code_commit(detail: &Value, id: Option<&str>, account: &str, region: &str) -> Received {
    let text = |field: &str| detail.get(field).and_then(Value::as_str);
    let action = match text("event").unwrap_or_default() {
        "referenceCreated" | "referenceUpdated" => "push:push".to_owned(),
        "pullRequestCreated" => "pull_request:opened".to_owned(),
        "pullRequestSourceBranchUpdated" => "pull_request:synchronize".to_owned(),
        "pullRequestMergeStatusUpdated" | "pullRequestStatusChanged" => {
            "pull_request:closed".to_owned()
        }
        other => {
            return Received::NothingToDo(format!("`{other}` of CodeCommit starts nothing"));
        }
    };
    let repository = text("repositoryName").or_else(|| {
        let names = detail.get("repositoryNames").and_then(Value::as_array)?;
        names.first()?.as_str()
    });
    let reference = text("referenceName").or_else(|| text("sourceReference"));
    event(
        "git",
        "codecommit",
        id,
        json!({
            "repoProject": format!("{account}/{region}"),
            "slug": repository,
            "hash": text("commitId").or_else(|| text("sourceCommit")),
            "branch": reference.map(|name| name.replace("refs/heads/", "")),
            "action": action,
            "number": text("pullRequestId"),
            "title": text("title"),
            "state": text("pullRequestStatus"),
        }),
        Some(detail.clone()),
    )
}

/// Whether an action of CodePipeline fetches a repository by CodeConnections (whose provider has kept its first name).
fn is_of_connection(detail: &Value) -> bool {
    let is =
        |pointer: &str, value: &str| detail.pointer(pointer).and_then(Value::as_str) == Some(value);
    is("/type/category", "Source") && is("/type/provider", "CodeStarSourceConnection")
}

/// A commit that CodePipeline fetched by CodeConnections: source, project and slug are those of the repository's own
/// webhook. Which branch it is of and what brought it the event does not say.
fn connection_source(detail: Value, id: Option<&str>) -> Received {
    let text = |pointer: &str| {
        let found = detail.pointer(pointer).and_then(Value::as_str);
        found.filter(|text| !text.is_empty())
    };
    if text("/state") != Some("SUCCEEDED") {
        let state = text("/state").unwrap_or_default();
        return Received::NothingToDo(format!(
            "the source action of CodePipeline is `{state}`, not `SUCCEEDED`"
        ));
    }
    // {"ProviderType":"GitHub","CommitMessage":"…"}
    let summary = text("/execution-result/external-execution-summary")
        .and_then(|summary| document(summary).ok())
        .unwrap_or(Value::Null);
    let said = |field: &str| {
        summary
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let source = match said("ProviderType").to_ascii_lowercase().as_str() {
        "github" | "githubenterpriseserver" => "github",
        "gitlab" | "gitlabselfmanaged" => "gitlab",
        "bitbucket" => "bitbucket",
        other => {
            return Received::NothingToDo(format!("`{other}` is no repository that triggers know"));
        }
    };
    let address = text("/execution-result/external-execution-url").unwrap_or_default();
    let repository = parameter(address, "FullRepositoryId").unwrap_or_default();
    let Some((project, slug)) = repository.rsplit_once('/') else {
        return Received::NothingToDo(format!("`{repository}` names no repository"));
    };
    let hash = text("/execution-result/external-execution-id").map(str::to_owned);
    let content = json!({
        "repoProject": project,
        "slug": slug,
        "hash": hash.or_else(|| parameter(address, "Commit")),
        "title": said("CommitMessage").lines().next(),
    });
    event("git", source, id, content, Some(detail.clone()))
}

/// The value of a parameter in an address' query.
fn parameter(address: &str, name: &str) -> Option<String> {
    let (_, query) = address.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(known, _)| *known == name)?;
    decoded(value)
}

/// The object of an S3 event, as Spinnaker names it.
fn s3_object(detail: &Value) -> Option<Value> {
    let bucket = detail.get("bucket")?.get("name")?.as_str()?;
    let object = detail.get("object")?;
    let key = object.get("key")?.as_str()?;
    let name = format!("s3://{bucket}/{key}");
    Some(json!({
        "type": "s3/object",
        "name": name,
        "reference": name,
        "version": object.get("version-id").or_else(|| object.get("versionId")),
    }))
}

fn message(
    subscription: &str,
    id: Option<&str>,
    attributes: Value,
    artifacts: Vec<Value>,
    payload: Value,
) -> Received {
    let content = json!({
        "messageDescription": {
            "subscriptionName": subscription,
            "pubsubSystem": "AMAZON",
            "messageAttributes": attributes,
            "artifacts": artifacts,
        }
    });
    event("pubsub", "aws", id, content, Some(payload))
}

/// The artifacts and the payload of a message's text: objects of S3 notifications, and its own `artifacts`.
fn payload_of(text: &str) -> Result<(Vec<Value>, Value), Refused> {
    let payload = match document(text) {
        Ok(Value::Object(map)) => map,
        // A message need not be JSON: its text is all there is.
        Ok(_) | Err(Refused::Body(_)) => Map::from_iter([("message".to_owned(), text.into())]),
        Err(refused) => return Err(refused),
    };
    let mut artifacts: Vec<Value> = payload
        .get("Records")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|record| s3_object(record.get("s3")?))
        .collect();
    if let Some(Value::Array(given)) = payload.get("artifacts") {
        artifacts.extend(given.iter().filter(|one| one.is_object()).cloned());
    }
    Ok((artifacts, Value::Object(payload)))
}

fn last_part(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

fn attribute_texts(attributes: Option<&Value>, field: &str) -> Value {
    attributes
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.get(field)?.clone())))
        .collect::<Map<String, Value>>()
        .into()
}

/// Reads an SNS notification: a message whose subscription is the topic's name.
///
/// # Errors
/// It is no notification, or its message cannot be read.
pub fn notification(value: &Value) -> Result<Received, Refused> {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    if let Some(kind) = text("Type").filter(|kind| *kind != "Notification") {
        return Ok(Received::NothingToDo(format!(
            "a `{kind}` of SNS starts nothing"
        )));
    }
    let topic = text("TopicArn").ok_or(Refused::Missing("TopicArn"))?;
    let (artifacts, payload) = payload_of(text("Message").unwrap_or_default())?;
    let attributes = attribute_texts(value.get("MessageAttributes"), "Value");
    Ok(message(
        last_part(topic),
        text("MessageId"),
        attributes,
        artifacts,
        payload,
    ))
}

/// Reads what a function gets from SQS (or from SNS): a message for each record, whose subscription is the queue's name.
/// A record that holds an SNS notification is the notified message.
///
/// # Errors
/// A record cannot be read.
pub fn queue(value: &Value) -> Result<Vec<Received>, Refused> {
    let single = [value.clone()];
    let records = match value.get("Records") {
        Some(Value::Array(records)) => records.as_slice(),
        _ => &single,
    };
    records
        .iter()
        .take(MAX_MESSAGES)
        .map(|record| {
            if let Some(inner) = record.get("Sns") {
                return notification(inner);
            }
            if record.get("eventSource").and_then(Value::as_str) == Some("aws:s3") {
                let (artifacts, payload) = payload_of(&json!({"Records": [record]}).to_string())?;
                return Ok(message("aws.s3", None, json!({}), artifacts, payload));
            }
            let text = |field: &str| record.get(field).and_then(Value::as_str);
            let arn = text("eventSourceARN")
                .or_else(|| text("queueArn"))
                .unwrap_or("sqs");
            let body = text("body").ok_or(Refused::Missing("Records.body"))?;
            let id = text("messageId");
            let attributes = attribute_texts(record.get("messageAttributes"), "stringValue");
            let (mut artifacts, mut payload) = payload_of(body)?;
            let mut merged = attributes;
            if payload.get("TopicArn").is_some()
                && let Some(inner) = payload.get("Message").and_then(Value::as_str)
            {
                merged = attribute_texts(payload.get("MessageAttributes"), "Value");
                (artifacts, payload) = payload_of(inner)?;
            }
            Ok(message(last_part(arn), id, merged, artifacts, payload))
        })
        .collect()
}
