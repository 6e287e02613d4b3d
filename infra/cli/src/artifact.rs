//! `gennaker artifact`.

use gennaker_artifacts::ArtifactAccount;
use gennaker_domain::Problem;
use gennaker_triggers::evaluate_artifact_case;

use crate::arguments::{Artifact, ArtifactAccount as Command};
use crate::failure::Failure;
use crate::input;
use crate::installation::Installation;
use crate::output::{Output, plain};

/// Runs the command.
pub(crate) async fn run(command: Artifact, prefix: &str, output: &Output) -> Result<(), Failure> {
    match command {
        Artifact::Evaluate { cases } => input::json_lines(&cases, |case| {
            output.compact(&evaluate_artifact_case(&case))
        }),
        Artifact::Account(command) => {
            account(command, &Installation::connect(prefix).await, output).await
        }
    }
}

/// Stores and lists accounts.
async fn account(
    command: Command,
    installation: &Installation,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        Command::Save { name, file } => {
            let account = input::json(&file)?;
            ArtifactAccount::parse(&name, &account).map_err(|error| {
                let path = format!("$.{}", error.field);
                Failure::input(Problem::error("invalid-account", path, error.message))
            })?;
            installation
                .store
                .save_artifact_account(&name, &account)
                .await?;
            output.say(&format!("artifact account `{}` is stored", plain(&name)));
            Ok(())
        }
        Command::List => output.names(&installation.store.artifact_accounts().await?),
    }
}
