//! `gennaker subscription`: how the messages of queues, topics and sources of events name their artifacts.

use gennaker_domain::Problem;
use gennaker_triggers::template::check;
use serde_json::{Value, json};

use crate::arguments::Subscription;
use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::output::{Output, plain};

/// Runs the command.
pub(crate) async fn run(
    command: Subscription,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    let store = &installation.store;
    match command {
        Subscription::Save { name, format } => {
            let template = input::text(&format)?;
            check(&template).map_err(|error| {
                Failure::input(
                    Problem::error("invalid-message-format", "$", error.to_string())
                        .with_hint("a message format makes a JSON list of artifacts of a message"),
                )
            })?;
            store.save_message_format(&name, &template).await?;
            output.say(&format!("`{}` has its message format", plain(&name)));
            Ok(())
        }
        Subscription::Delete { name } => {
            if !store.delete_message_format(&name).await? {
                return Err(Failure::input(
                    Problem::error(
                        "unknown-subscription",
                        "$",
                        format!("`{}` has no message format", plain(&name)),
                    )
                    .with_hint("gennaker subscription list shows those there are"),
                ));
            }
            output.say(&format!(
                "`{}` has no message format any more",
                plain(&name)
            ));
            Ok(())
        }
        Subscription::List => {
            let all = store.message_formats().await?;
            if output.json {
                let list: Vec<Value> = all
                    .iter()
                    .map(|one| json!({ "name": one.name, "messageFormat": one.template }))
                    .collect();
                return output.data(&list);
            }
            for one in all {
                output.line(&plain(&one.name))?;
            }
            Ok(())
        }
    }
}
