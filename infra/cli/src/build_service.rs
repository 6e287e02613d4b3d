//! `gennaker build-service`: the Jenkins, Travis and registries that are polled.

use gennaker_cloud::store::builds::{BuildMaster, BuildService};
use gennaker_cloud::store::registries::is_repository;
use gennaker_domain::Problem;
use gennaker_http::SecretReference;
use serde_json::json;

use crate::arguments;
use crate::failure::Failure;
use crate::installation::Installation;
use crate::output::{Output, plain};

/// Most repositories of a registry: one look asks for the tags of each.
const MOST_REPOSITORIES: usize = 100;

/// Runs the command.
pub(crate) async fn run(
    command: arguments::BuildService,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    let store = &installation.store;
    match command {
        arguments::BuildService::Save {
            name,
            service,
            address,
            user,
            token,
            repositories,
        } => {
            let known = BuildService::ALL.iter().find(|(name, _)| *name == service);
            let master = BuildMaster {
                name,
                service: known.map_or(BuildService::Jenkins, |(_, service)| *service),
                address,
                user,
                token,
                repositories,
            };
            check(&master)?;
            store.save_build_master(&master).await?;
            print(&[master], output)
        }
        arguments::BuildService::List => {
            let masters = store.build_masters().await?;
            if masters.is_empty() && !output.json {
                output.say("no build services: gennaker build-service save adds one");
            }
            print(&masters, output)
        }
        arguments::BuildService::Delete { name } => {
            store.delete_build_master(&name).await?;
            output.say(&format!("{} is not polled any more", plain(&name)));
            Ok(())
        }
    }
}

/// A token itself is never stored, and an address is one.
fn check(master: &BuildMaster) -> Result<(), Failure> {
    let wrong = |code: &str, path: &str, message: &str, hint: &str| {
        Err(Failure::input(
            Problem::error(code, path, message).with_hint(hint),
        ))
    };
    if master.name.is_empty() || master.name.len() > 200 {
        return wrong(
            "bad-name",
            "$.name",
            "the name is empty or longer than 200 bytes",
            "give `master`, or `account`, of the triggers",
        );
    }
    let is_registry = master.service == BuildService::Docker;
    if is_registry == master.repositories.is_empty() {
        return wrong(
            "bad-repositories",
            "$.repositories",
            "a registry has repositories that are asked for, and nothing else has",
            "give --repository for each of a registry, such as --repository shop/api",
        );
    }
    if master.repositories.len() > MOST_REPOSITORIES
        || !master.repositories.iter().all(|name| is_repository(name))
    {
        return wrong(
            "bad-repositories",
            "$.repositories",
            "a repository has a name that is none, or there are more than 100",
            "names are lower-case, without the registry's host: shop/api",
        );
    }
    if !["https://", "http://"]
        .iter()
        .any(|scheme| master.address.starts_with(scheme))
    {
        return wrong(
            "bad-address",
            "$.address",
            "the address is no URL",
            "such as https://ci.example.com",
        );
    }
    let is_reference = |token: &String| matches!(SecretReference::parse(token), Ok(Some(_)));
    if !master.token.as_ref().is_none_or(is_reference) {
        return wrong(
            "no-reference",
            "$.token",
            "the token is no reference, and secrets are not stored here",
            "put it below /<prefix>/ in Parameter Store and give ssm:/<prefix>/…",
        );
    }
    Ok(())
}

fn print(masters: &[BuildMaster], output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.data(&json!(masters));
    }
    let rows: Vec<Vec<String>> = masters
        .iter()
        .map(|master| {
            let service = json!(master.service);
            vec![
                plain(&master.name),
                service.as_str().unwrap_or_default().to_owned(),
                plain(&master.address),
                master.token.as_deref().map(plain).unwrap_or_default(),
            ]
        })
        .collect();
    output.table(&rows)
}
