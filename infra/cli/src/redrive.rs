//! `gennaker trigger redrive`: events that nobody could handle are kept in two queues; this sends them again.

use std::collections::BTreeSet;

use gennaker_cloud::functions::AwsFunctions;
use gennaker_cloud::{CloudError, Functions};
use gennaker_domain::Problem;
use gennaker_http::{Aws, SignedCall, SignedCalls};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::installation::Installation;
use crate::output::{Output, plain, table};
use crate::surroundings::now_millis;

/// Queues of dead letters, without the prefix: what a rule or a schedule could not deliver, and what a function failed on.
const QUEUES: [&str; 2] = ["event-dead-letters", "failed-invocations"];
/// Dead letters that one call looks at.
const MOST: usize = 1_000;
/// How long a letter that is looked at is hidden from others, in seconds.
const HIDDEN_SECONDS: u32 = 120;

/// A message of one of the queues.
#[derive(Clone, Debug)]
struct Letter {
    id: String,
    queue_url: String,
    queue: &'static str,
    receipt: String,
    body: Value,
    /// Attributes of the message and of SQS itself.
    attributes: Map<String, Value>,
}

/// Where a letter goes.
#[derive(Clone, Debug, PartialEq)]
enum Destination {
    /// Name of a function with its alias, and what it is called with.
    Function(String, Value),
    /// Name of a queue, and the message.
    Queue(String, String),
}

impl Letter {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).and_then(Value::as_str)
    }

    /// Who should have had it, or why that cannot be told.
    fn destination(&self, prefix: &str) -> Result<Destination, String> {
        // What Lambda writes about an asynchronous call that failed.
        if let Some(arn) = self.body.pointer("/requestContext/functionArn") {
            let payload = self.body.get("requestPayload").cloned();
            return Ok(Destination::Function(
                own_function(arn.as_str().unwrap_or_default(), prefix)?,
                payload.ok_or("the event itself was not kept")?,
            ));
        }
        // What a rule or a schedule could not hand over.
        if let Some(arn) = self.attribute("TARGET_ARN") {
            let function = own_function(arn, prefix)?;
            return Ok(Destination::Function(function, self.with_time()));
        }
        // What the messages of another queue became whose function failed too often.
        if let Some(arn) = self.attribute("DeadLetterQueueSourceArn") {
            let name = arn.rsplit(':').next().unwrap_or_default();
            let body = match &self.body {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            return Ok(Destination::Queue(name.to_owned(), body));
        }
        Err("it does not say whom it was for".to_owned())
    }

    /// The event, with the time that its schedule was due at.
    fn with_time(&self) -> Value {
        let mut event = self.body.clone();
        if let (Some(time), Some(fields)) =
            (self.attribute("SCHEDULED_TIME"), event.as_object_mut())
            && fields.contains_key("schedule")
        {
            fields.insert("scheduledTime".to_owned(), time.into());
        }
        event
    }

    /// Why it is here, as far as it says.
    fn error(&self) -> String {
        let said = self
            .body
            .pointer("/responsePayload/errorMessage")
            .and_then(Value::as_str)
            .or_else(|| self.attribute("ERROR_MESSAGE"))
            .or_else(|| self.attribute("ERROR_CODE"));
        plain(said.unwrap_or_default())
    }
}

/// Name and alias of a function of this installation.
fn own_function(arn: &str, prefix: &str) -> Result<String, String> {
    let name = arn.split_once(":function:").map_or("", |(_, name)| name);
    if name.starts_with(&format!("{prefix}-")) {
        Ok(name.to_owned())
    } else {
        Err(format!("`{}` is no function of `{prefix}`", plain(arn)))
    }
}

/// SQS, as far as this command needs it.
struct Queues {
    calls: SignedCalls,
    prefix: String,
}

impl Queues {
    async fn call(
        &self,
        operation: &'static str,
        target: &'static str,
        queue: &str,
        body: &Value,
    ) -> Result<Value, CloudError> {
        let call = SignedCall {
            target: Some((target, "1.0")),
            ..SignedCall::json("sqs", operation, target, queue, body)
        };
        self.calls.send(&call, now_millis()).await
    }

    async fn url(&self, name: &str) -> Result<String, CloudError> {
        let answer = self
            .call(
                "sqs:GetQueueUrl",
                "AmazonSQS.GetQueueUrl",
                name,
                &json!({ "QueueName": name }),
            )
            .await?;
        let url = answer.get("QueueUrl").and_then(Value::as_str);
        Ok(url.unwrap_or_default().to_owned())
    }

    /// All letters, each hidden from others for a while.
    async fn letters(&self) -> Result<Vec<Letter>, CloudError> {
        let mut letters: Vec<Letter> = Vec::new();
        for queue in QUEUES {
            let queue_url = self.url(&format!("{}-{queue}", self.prefix)).await?;
            let mut known = BTreeSet::new();
            while letters.len() < MOST {
                let body = json!({
                    "QueueUrl": queue_url, "MaxNumberOfMessages": 10, "VisibilityTimeout": HIDDEN_SECONDS,
                    "WaitTimeSeconds": 1, "AttributeNames": ["All"], "MessageAttributeNames": ["All"],
                });
                let answer = self
                    .call(
                        "sqs:ReceiveMessage",
                        "AmazonSQS.ReceiveMessage",
                        queue,
                        &body,
                    )
                    .await?;
                let messages = answer.get("Messages").and_then(Value::as_array);
                let page: Vec<Letter> = messages
                    .into_iter()
                    .flatten()
                    .filter_map(|message| letter(message, &queue_url, queue))
                    .filter(|letter| known.insert(letter.id.clone()))
                    .collect();
                if page.is_empty() {
                    break;
                }
                letters.extend(page);
            }
        }
        Ok(letters)
    }

    async fn remove(&self, letter: &Letter) -> Result<(), CloudError> {
        let body = json!({ "QueueUrl": letter.queue_url, "ReceiptHandle": letter.receipt });
        self.call(
            "sqs:DeleteMessage",
            "AmazonSQS.DeleteMessage",
            letter.queue,
            &body,
        )
        .await
        .map(|_| ())
    }

    /// Shows it to others again.
    async fn release(&self, letter: &Letter) -> Result<(), CloudError> {
        let body = json!({
            "QueueUrl": letter.queue_url, "ReceiptHandle": letter.receipt, "VisibilityTimeout": 0,
        });
        let target = "AmazonSQS.ChangeMessageVisibility";
        self.call("sqs:ChangeMessageVisibility", target, letter.queue, &body)
            .await
            .map(|_| ())
    }

    async fn send(&self, queue: &str, message: &str) -> Result<(), CloudError> {
        let body = json!({ "QueueUrl": self.url(queue).await?, "MessageBody": message });
        self.call("sqs:SendMessage", "AmazonSQS.SendMessage", queue, &body)
            .await
            .map(|_| ())
    }
}

fn letter(message: &Value, queue_url: &str, queue: &'static str) -> Option<Letter> {
    let text = |name: &str| message.get(name).and_then(Value::as_str).map(str::to_owned);
    let body = text("Body")?;
    let mut attributes = Map::new();
    if let Some(own) = message.get("Attributes").and_then(Value::as_object) {
        attributes.extend(own.clone());
    }
    for (name, value) in message
        .get("MessageAttributes")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let text = value.get("StringValue").cloned().unwrap_or_default();
        attributes.insert(name.clone(), text);
    }
    Some(Letter {
        id: text("MessageId")?,
        queue_url: queue_url.to_owned(),
        queue,
        receipt: text("ReceiptHandle")?,
        body: serde_json::from_str(&body).unwrap_or(Value::String(body)),
        attributes,
    })
}

/// Sends one letter on: whom it went to, or why it stays.
async fn send_on(letter: &Letter, queues: &Queues, functions: &AwsFunctions) -> Result<(), String> {
    let sent = match letter.destination(&queues.prefix)? {
        Destination::Function(name, payload) => functions.invoke_later(&name, &payload).await,
        Destination::Queue(name, message) => queues.send(&name, &message).await,
    };
    sent.map_err(|error| error.to_string())?;
    // Sent again later if this fails: the same event starts nothing twice.
    queues
        .remove(letter)
        .await
        .map_err(|error| error.to_string())
}

fn row(letter: &Letter, prefix: &str, sent: bool, reason: Option<&str>) -> Value {
    let to = match letter.destination(prefix) {
        Ok(Destination::Function(name, _) | Destination::Queue(name, _)) => Value::from(name),
        Err(_) => Value::Null,
    };
    json!({
        "id": letter.id, "queue": letter.queue, "to": to, "error": letter.error(),
        "sentAt": letter.attribute("SentTimestamp").and_then(|at| at.parse::<i64>().ok()),
        "sent": sent, "reason": reason,
    })
}

/// Lists the dead letters, or sends them, or the one of this id, again.
pub(crate) async fn run(
    id: Option<&str>,
    list: bool,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    let queues = Queues {
        calls: SignedCalls::new(&installation.connection),
        prefix: installation.prefix.clone(),
    };
    let functions = AwsFunctions::new(&installation.connection);
    let letters = queues.letters().await?;
    if let Some(id) = id
        && !letters.iter().any(|letter| letter.id == id)
    {
        for letter in &letters {
            queues.release(letter).await?;
        }
        return Err(Failure::input(
            Problem::error("unknown-dead-letter", "$", format!("there is no dead letter `{}`", plain(id)))
                .with_hint("gennaker trigger redrive --list shows those that wait; one that somebody looks at is hidden for two minutes"),
        ));
    }
    let mut rows = Vec::new();
    let mut stayed = 0_usize;
    for letter in &letters {
        let wanted = !list && id.is_none_or(|id| letter.id == id);
        let outcome = if wanted {
            send_on(letter, &queues, &functions).await
        } else {
            Err(String::new())
        };
        if outcome.is_err() {
            queues.release(letter).await?;
        }
        if id.is_none() || wanted {
            stayed += usize::from(wanted && outcome.is_err());
            let reason = outcome.as_ref().err().filter(|reason| !reason.is_empty());
            rows.push(row(
                letter,
                &queues.prefix,
                outcome.is_ok(),
                reason.map(String::as_str),
            ));
        }
    }
    show(&rows, output)?;
    if stayed > 0 {
        return Err(Failure::No(format!(
            "{stayed} dead letters could not be sent again"
        )));
    }
    Ok(())
}

fn show(rows: &[Value], output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.data(&rows);
    }
    if rows.is_empty() {
        output.say("no dead letters");
    }
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let text = |name: &str| {
                let value = row.get(name).and_then(Value::as_str);
                plain(value.unwrap_or_default())
            };
            let sent = row.get("sent") == Some(&Value::Bool(true));
            vec![
                text("id"),
                if sent { "sent to" } else { "for" }.to_owned(),
                text("to"),
                text("error"),
                text("reason"),
            ]
        })
        .collect();
    for line in table(&lines) {
        output.line(&line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter_of(body: &Value, attributes: &Value) -> Letter {
        let attributes: Map<String, Value> = attributes
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), json!({"StringValue": value})))
            .collect();
        let message = json!({"MessageId": "m-1", "ReceiptHandle": "r", "Body": body.to_string(),
            "MessageAttributes": attributes});
        letter(&message, "https://q", QUEUES[0]).unwrap()
    }

    const TRIGGER: &str = "arn:aws:lambda:us-east-1:123456789012:function:g-trigger:live";

    #[test]
    fn a_call_that_failed_goes_to_its_function_with_its_event() {
        let body = json!({"requestContext": {"functionArn": TRIGGER}, "requestPayload": {"id": "e-1"},
            "responsePayload": {"errorMessage": "no answer"}});
        let letter = letter_of(&body, &json!({}));
        let expected = Destination::Function("g-trigger:live".to_owned(), json!({"id": "e-1"}));
        assert_eq!(letter.destination("g"), Ok(expected));
        assert_eq!(letter.error(), "no answer");
        assert!(letter.destination("other").is_err());
    }

    #[test]
    fn what_a_schedule_could_not_hand_over_keeps_the_time_that_it_was_due() {
        let body =
            json!({"schedule": "nightly", "scheduledTime": "<aws.scheduler.scheduled-time>"});
        let attributes = json!({"TARGET_ARN": TRIGGER, "SCHEDULED_TIME": "2026-11-20T03:00:00Z"});
        let Ok(Destination::Function(_, payload)) = letter_of(&body, &attributes).destination("g")
        else {
            panic!("no function");
        };
        assert_eq!(payload["scheduledTime"], "2026-11-20T03:00:00Z");
    }

    #[test]
    fn a_message_goes_back_to_its_queue_as_it_was() {
        let attributes = json!({"DeadLetterQueueSourceArn": "arn:aws:sqs:us-east-1:1:g-events"});
        let letter = letter_of(&json!("not json"), &attributes);
        let expected = Destination::Queue("g-events".to_owned(), "not json".to_owned());
        assert_eq!(letter.destination("g"), Ok(expected));
        assert!(letter_of(&json!({}), &json!({})).destination("g").is_err());
    }
}
