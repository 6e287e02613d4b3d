//! The port to SNS: telling people.

use async_trait::async_trait;
use aws_sdk_sns::Client;
use aws_sdk_sns::types::MessageAttributeValue;

use crate::error::from_sdk;
use crate::{CloudError, Connection, Lazy};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// At most 100 printable ASCII characters; the adapter replaces and cuts what SNS would refuse.
    pub subject: String,
    /// At most 262,144 bytes.
    pub text: String,
    /// For subscribers that filter, and for those that must know a repeated message again: name and value.
    pub attributes: Vec<(String, String)>,
}

/// Topics.
#[async_trait]
pub trait Notifications: Send + Sync {
    /// Publishes to a topic. A second call is a second message. (`sns:Publish`)
    async fn publish(&self, topic_arn: &str, message: &Message) -> Result<(), CloudError>;

    /// Sends a text message to a telephone number in E.164, at most 1,600 bytes. A second call is a second message.
    /// (`sns:Publish`)
    async fn send_text(&self, number: &str, text: &str) -> Result<(), CloudError>;
}

/// The calls of [`Notifications`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "Notifications":
        PUBLISH = "publish" => ["sns:Publish"];
        SEND_TEXT = "send_text" => ["sns:Publish"];
    }
}

/// The subject as SNS takes it: printable ASCII, no line breaks, at most 100 characters, beginning with no space.
#[must_use]
pub fn subject(text: &str) -> String {
    let ascii: String = text
        .trim()
        .chars()
        .map(|c| if (' '..='~').contains(&c) { c } else { '?' })
        .take(100)
        .collect();
    if ascii.is_empty() {
        "Gennaker".to_owned()
    } else {
        ascii
    }
}

/// SNS on AWS.
#[derive(Clone, Debug)]
pub struct AwsNotifications {
    client: Lazy<Client>,
}

impl AwsNotifications {
    /// A client on the connection.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: connection.client(Client::new),
        }
    }
}

#[async_trait]
impl Notifications for AwsNotifications {
    async fn publish(&self, topic_arn: &str, message: &Message) -> Result<(), CloudError> {
        let mut call = self
            .client
            .publish()
            .topic_arn(topic_arn)
            .subject(subject(&message.subject))
            .message(&message.text);
        for (name, value) in &message.attributes {
            let value = MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value)
                .build()
                .map_err(|error| CloudError::Unreadable {
                    what: format!("message attribute `{name}`"),
                    message: error.to_string(),
                })?;
            call = call.message_attributes(name, value);
        }
        call.send()
            .await
            .map(|_| ())
            .map_err(|error| from_sdk("sns:Publish", topic_arn, &error))
    }

    async fn send_text(&self, number: &str, text: &str) -> Result<(), CloudError> {
        self.client
            .publish()
            .phone_number(number)
            .message(text)
            .send()
            .await
            .map(|_| ())
            // The number is a person's: it is in no error.
            .map_err(|error| from_sdk("sns:Publish", "a telephone number", &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_what_sns_takes() {
        assert_eq!(subject(" shöp\nfailed"), "sh?p?failed");
        assert_eq!(subject(&"x".repeat(200)).len(), 100);
        assert_eq!(subject(" "), "Gennaker");
    }
}
