//! `gennaker user`: the people whom approvals know.

use gennaker_cloud::{User, UserError};
use gennaker_domain::Problem;

use crate::arguments;
use crate::failure::Failure;
use crate::installation::Installation;
use crate::output::{Output, plain};

/// Runs the command.
pub(crate) async fn run(
    command: arguments::User,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        arguments::User::Save(given) => {
            let name = given.name.trim().to_lowercase();
            if name.is_empty() || name.chars().any(char::is_control) {
                return Err(Failure::input(
                    Problem::error("invalid-user", "$.name", "the user has no name")
                        .with_hint("what is recorded of a decision, such as ada"),
                ));
            }
            let user = User {
                name,
                roles: given.roles,
                slack: given.slack,
                email: given.email,
                arn: given.arn,
            };
            user.save(&installation.store).await.map_err(refused)?;
            print(&[user], output)
        }
        arguments::User::List => {
            let users = User::all(&installation.store).await?;
            if users.is_empty() && !output.json {
                output.say("no users: gennaker user save adds one");
            }
            print(&users, output)
        }
    }
}

/// Why a user was not saved.
pub(crate) fn refused(error: UserError) -> Failure {
    match error {
        UserError::Cloud(error) => error.into(),
        taken @ UserError::Taken { .. } => Failure::input(
            Problem::error("identity-taken", "$", taken.to_string())
                .with_hint("gennaker user list shows whose; save that user without it first"),
        ),
    }
}

fn print(users: &[User], output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.data(&users);
    }
    let rows: Vec<Vec<String>> = users
        .iter()
        .map(|user| {
            let names = [&user.slack, &user.email, &user.arn];
            let names: Vec<String> = names
                .into_iter()
                .flatten()
                .map(|name| plain(name))
                .collect();
            vec![
                plain(&user.name),
                plain(&user.roles.join(" ")),
                names.join(" "),
            ]
        })
        .collect();
    output.table(&rows)
}
