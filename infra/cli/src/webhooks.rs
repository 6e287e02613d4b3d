//! `gennaker webhook save`, `list` and `delete`: webhooks that are stage types of their own, and the accounts whose
//! headers webhooks send.

use gennaker_compiler::{PreconfiguredWebhooks, preconfigured};
use gennaker_domain::Problem;
use serde_json::{Value, json};

use crate::arguments::Webhook;
use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::output::{Output, bare, plain};

fn refused(problems: Vec<Problem>) -> Failure {
    Failure::Input { problems }
}

/// Webhooks in Spinnaker's JSON.
pub(crate) fn of_file(file: &Value) -> Result<PreconfiguredWebhooks, Failure> {
    preconfigured::read(file).map_err(refused)
}

/// The webhooks of an installation.
pub(crate) async fn of_installation(
    installation: &Installation,
) -> Result<PreconfiguredWebhooks, Failure> {
    of_file(&Value::Array(installation.store.webhooks().await?))
}

/// Saves the webhooks and the accounts of a file. All of it is checked before any of it is written.
pub(crate) async fn save(file: &Value, installation: &Installation) -> Result<(), Failure> {
    let webhooks = of_file(file)?;
    let accounts = preconfigured::accounts(file).map_err(refused)?;
    if webhooks.is_empty() && accounts.is_empty() {
        return Err(Failure::input(
            Problem::error("no-webhook", "$", "there is no webhook in it").with_hint(
                "such as {\"type\": \"smokeTest\", \"label\": \"Smoke test\", \"url\": \"https://ci.example.com\"}",
            ),
        ));
    }
    for (_, given) in preconfigured::entries(file) {
        let stage_type = text(given, "type");
        installation.store.save_webhook(&stage_type, given).await?;
    }
    for account in &accounts {
        installation
            .store
            .save_webhook_account(&account.name, &account.json)
            .await?;
    }
    Ok(())
}

/// Runs the command.
pub(crate) async fn run(command: Webhook, prefix: &str, output: &Output) -> Result<(), Failure> {
    if let Webhook::Evaluate { cases } = &command {
        return crate::trigger::webhook(cases, output);
    }
    let installation = Installation::connect(prefix).await;
    let store = &installation.store;
    match command {
        Webhook::Save { file } => {
            save(&input::json(&file)?, &installation).await?;
        }
        Webhook::Delete { stage_type } => store.delete_webhook(&stage_type).await?,
        Webhook::List | Webhook::Evaluate { .. } => {}
    }
    print(
        &store.webhooks().await?,
        &store.webhook_accounts().await?,
        output,
    )
}

fn text(of: &Value, name: &str) -> String {
    of.get(name).map(bare).unwrap_or_default().trim().to_owned()
}

fn print(webhooks: &[Value], accounts: &[Value], output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.data(&json!({ "preconfigured": webhooks, "accounts": accounts }));
    }
    if webhooks.is_empty() && accounts.is_empty() {
        output.say("no webhooks: gennaker webhook save adds some");
    }
    let names = |of: &Value, list: &str| {
        let names = of.get(list).and_then(Value::as_array).into_iter().flatten();
        let names: Vec<String> = names
            .map(|item| item.get("name").map_or_else(|| bare(item), bare))
            .collect();
        plain(&names.join(" "))
    };
    let row = |kind: &str, name: &str, of: &Value, about: String| {
        vec![kind.to_owned(), plain(&text(of, name)), about]
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for webhook in webhooks {
        let about = format!(
            "{}  {}",
            plain(&text(webhook, "label")),
            names(webhook, "parameters")
        );
        rows.push(row("stage", "type", webhook, about));
    }
    for account in accounts {
        rows.push(row("account", "name", account, names(account, "hosts")));
    }
    output.table(&rows)
}
