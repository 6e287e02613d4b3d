//! `gennaker account`: Spinnaker's account names, and the AWS accounts that they stand for.

use gennaker_cloud::Account;
use gennaker_domain::Problem;
use serde_json::{Value, json};

use crate::arguments;
use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::output::{Output, plain};
use crate::records::{self, Kind, numbered};

/// Runs the command.
pub(crate) async fn run(
    command: arguments::Account,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        arguments::Account::Save(given) => {
            let accounts = match &given.file {
                Some(file) => of_file(&input::json(file)?)?,
                None => of_file(&json!({
                    "name": given.name,
                    "accountId": given.account_id,
                    "assumeRole": given.role,
                    "regions": given.regions,
                }))?,
            };
            for account in &accounts {
                account.save(&installation.store).await?;
            }
            print(&accounts, output)
        }
        arguments::Account::List => {
            let accounts = Account::all(&installation.store).await?;
            if accounts.is_empty() && !output.json {
                output.say("no accounts: gennaker account save adds one");
            }
            print(&accounts, output)
        }
    }
}

fn print(accounts: &[Account], output: &Output) -> Result<(), Failure> {
    if output.json {
        let list: Vec<Value> = accounts
            .iter()
            .map(|account| {
                json!({
                    "name": account.name,
                    "type": "aws",
                    "accountId": account.account_id,
                    "assumeRole": account.role,
                    "regions": account.regions,
                })
            })
            .collect();
        return output.data(&list);
    }
    let rows: Vec<Vec<String>> = accounts
        .iter()
        .map(|account| {
            vec![
                plain(&account.name),
                account.account_id.clone(),
                if account.regions.is_empty() {
                    "all regions".to_owned()
                } else {
                    plain(&account.regions.join(" "))
                },
                account
                    .role
                    .as_deref()
                    .map_or_else(|| "the functions' own account".to_owned(), plain),
            ]
        })
        .collect();
    output.table(&rows)
}

const ACCOUNT: Kind = Kind {
    code: "account",
    name: "account",
    key: "name",
    example: r#"{"name": "prod", "accountId": "123456789012"}"#,
};

/// The accounts in a file: one, a list of them, a map from names, or what Spinnaker calls `aws.accounts`. All problems
/// at once.
pub(crate) fn of_file(file: &Value) -> Result<Vec<Account>, Failure> {
    let read = entries(file).into_iter().map(|(path, name, value)| {
        let account = account(&path, name.as_deref(), value);
        (path, account)
    });
    records::all(&ACCOUNT, read, |account| &account.name)
}

/// Each account with its JSON path and, in a map, its name.
fn entries(file: &Value) -> Vec<(String, Option<String>, &Value)> {
    if let Some(list) = file.pointer("/aws/accounts").and_then(Value::as_array) {
        return unnamed("$.aws.accounts", list);
    }
    match file {
        Value::Array(list) => unnamed("$", list),
        Value::Object(object) if object.contains_key("name") => {
            vec![("$".to_owned(), None, file)]
        }
        Value::Object(object) if object.values().all(Value::is_object) => object
            .iter()
            .map(|(name, value)| (format!("$['{name}']"), Some(name.clone()), value))
            .collect(),
        other => vec![("$".to_owned(), None, other)],
    }
}

fn unnamed<'a>(path: &str, list: &'a [Value]) -> Vec<(String, Option<String>, &'a Value)> {
    let entries = numbered(path, list).into_iter();
    entries.map(|(path, value)| (path, None, value)).collect()
}

fn account(path: &str, name: Option<&str>, value: &Value) -> Result<Account, Vec<Problem>> {
    let mut problems = Vec::new();
    let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::trim);
    let name = name.or_else(|| text("name")).unwrap_or_default();
    if name.is_empty() {
        problems.push(
            Problem::error(
                "invalid-account",
                format!("{path}.name"),
                "the account has no `name`",
            )
            .with_hint("the name is what pipelines have under `account` or `credentials`"),
        );
    }
    // People write the id as a number, too: the first of its digits may be lost then.
    let id = match value.get("accountId") {
        Some(Value::Number(number)) => number.to_string(),
        _ => text("accountId").unwrap_or_default().to_owned(),
    };
    if id.len() != 12 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        problems.push(
            Problem::error(
                "invalid-account",
                format!("{path}.accountId"),
                format!("`{id}` is not an AWS account id"),
            )
            .with_hint("twelve digits, as text; `aws sts get-caller-identity` shows one's own"),
        );
    }
    let role = match text("assumeRole").or_else(|| text("role")) {
        None | Some("") => None,
        Some(arn) if arn.starts_with("arn:") && arn.contains(":role/") => Some(arn.to_owned()),
        // As Spinnaker has it: `role/spinnakerManaged`.
        Some(role) if role.starts_with("role/") && role.len() > "role/".len() => {
            Some(format!("arn:aws:iam::{id}:{role}"))
        }
        Some(other) => {
            problems.push(
                Problem::error(
                    "invalid-account",
                    format!("{path}.assumeRole"),
                    format!("`{other}` is not a role"),
                )
                .with_hint(format!(
                    "such as arn:aws:iam::{id}:role/gennaker, or role/gennaker"
                )),
            );
            None
        }
    };
    let mut regions = Vec::new();
    for (index, region) in value
        .get("regions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let name = region.get("name").unwrap_or(region).as_str();
        match name.filter(|name| is_region(name)) {
            Some(name) if regions.iter().any(|known| known == name) => {}
            Some(name) => regions.push(name.to_owned()),
            None => problems.push(
                Problem::error(
                    "invalid-account",
                    format!("{path}.regions[{index}]"),
                    format!("`{region}` is not a region"),
                )
                .with_hint("such as us-east-1; no regions are all of them"),
            ),
        }
    }
    if problems.is_empty() {
        Ok(Account {
            name: name.to_owned(),
            account_id: id,
            role,
            regions,
        })
    } else {
        Err(problems)
    }
}

/// `us-east-1`, `us-gov-west-1`: lower-case words and a number.
fn is_region(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let Some((number, words)) = parts.split_last() else {
        return false;
    };
    words.len() >= 2
        && words
            .iter()
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn unknown(path: String, stage: String, name: &str, known: &[String]) -> Problem {
    let exist = if known.is_empty() {
        "no account is known yet".to_owned()
    } else {
        format!("known are {}", known.join(", "))
    };
    let mut problem = Problem::error(
        "unknown-account",
        path,
        format!("account `{name}` does not exist"),
    )
    .with_hint(format!(
        "{exist}; gennaker account save --name {name} --account-id <id> adds it"
    ));
    problem.stage = Some(stage);
    problem
}

/// The same for the accounts of a file.
pub(crate) fn check_against(pipeline: &Value, accounts: &Value) -> Result<(), Failure> {
    let known: Vec<String> = of_file(accounts)?
        .into_iter()
        .map(|account| account.name)
        .collect();
    let problems: Vec<Problem> = crate::accounts::of_stages(pipeline)
        .into_iter()
        .filter(|(_, _, name)| !known.contains(name))
        .map(|(path, stage, name)| unknown(path, stage, &name, &known))
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Failure::Input { problems })
    }
}

/// Refuses account names of a pipeline's server-group stages that are not known, with those that are.
pub(crate) async fn check(pipeline: &Value, installation: &Installation) -> Result<(), Failure> {
    let mut problems = Vec::new();
    let mut all: Option<Vec<String>> = None;
    for (path, stage, name) in crate::accounts::of_stages(pipeline) {
        if Account::find(&installation.store, &name).await?.is_some() {
            continue;
        }
        let known = match &all {
            Some(known) => known,
            None => all.insert(
                Account::all(&installation.store)
                    .await?
                    .into_iter()
                    .map(|account| account.name)
                    .collect(),
            ),
        };
        problems.push(unknown(path, stage, &name, known));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Failure::Input { problems })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(file: &Value) -> Vec<String> {
        match of_file(file) {
            Err(Failure::Input { problems }) => {
                problems.into_iter().map(|problem| problem.path).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_account_is_taken_as_spinnaker_has_it_and_as_we_print_it() {
        let prod = Account {
            name: "prod".to_owned(),
            account_id: "123456789012".to_owned(),
            role: Some("arn:aws:iam::123456789012:role/managed".to_owned()),
            regions: vec!["us-east-1".to_owned(), "us-gov-west-1".to_owned()],
        };
        let spinnaker = json!({ "name": "prod", "accountId": "123456789012", "assumeRole": "role/managed",
            "regions": [{ "name": "us-east-1" }, { "name": "us-gov-west-1" }, { "name": "us-east-1" }] });
        let printed = json!({ "accountId": "123456789012", "assumeRole": "arn:aws:iam::123456789012:role/managed",
            "regions": ["us-east-1", "us-gov-west-1"] });
        for file in [
            spinnaker.clone(),
            json!([spinnaker]),
            json!({ "aws": { "accounts": [spinnaker] } }),
            json!({ "prod": printed }),
        ] {
            assert_eq!(
                of_file(&file).unwrap(),
                std::slice::from_ref(&prod),
                "{file}"
            );
        }
    }

    #[test]
    fn a_plan_refuses_accounts_that_its_file_lacks() {
        let pipeline = json!({"stages": [
            {"refId": "1", "type": "deploy", "clusters": [{"account": "prod"}, {"account": "test"}]}
        ]});
        let accounts = json!([{"name": "prod", "accountId": "123456789012"}]);
        let Err(Failure::Input { problems }) = check_against(&pipeline, &accounts) else {
            panic!("an unknown account was taken");
        };
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "$.stages[0].clusters[1].account");
        assert!(
            problems[0]
                .hint
                .as_deref()
                .unwrap_or("")
                .contains("known are prod")
        );
    }

    #[test]
    fn every_problem_of_an_accounts_file_has_its_place() {
        let file = json!([
            { "name": "", "accountId": "12", "assumeRole": "admin", "regions": ["Virginia", "us-east-1"] },
            { "name": "a", "accountId": "123456789012" },
            { "name": "a", "accountId": "123456789012" },
        ]);
        assert_eq!(
            paths(&file),
            [
                "$[0].name",
                "$[0].accountId",
                "$[0].assumeRole",
                "$[0].regions[0]",
                "$[2].name"
            ]
        );
        for empty in [json!([]), json!({}), json!({ "aws": { "accounts": [] } })] {
            assert_eq!(paths(&empty), ["$"], "{empty}");
        }
        assert_eq!(paths(&json!("prod")), ["$.name", "$.accountId"]);
    }
}
