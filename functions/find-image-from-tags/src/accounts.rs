//! In which accounts images are looked for, and whose images count.

use gennaker_cloud::Account;
use gennaker_domain::deployment::find_image_from_tags::FindImageFromTags as Ask;
use gennaker_lambda::{Invocation, StageError};

/// Owners that are no accounts of anybody: EC2's own names.
const ALIASES: [&str; 3] = ["amazon", "aws-marketplace", "aws-backup-vault"];

/// Where images are looked for.
pub(crate) struct Search {
    /// The accounts that are asked.
    accounts: Vec<Account>,
    /// Whose images count, as EC2 takes it.
    pub owners: Vec<String>,
}

impl Search {
    /// The account that the stage names as `imageOwnerAccount`, else all that are known: only an image's owner sees its
    /// tags, whoever it is shared with.
    ///
    /// Images of strangers do not count, public or shared: anybody may give an image any name. An owner that is no
    /// account here is named by its twelve digits.
    pub async fn of(invocation: &Invocation<'_>, ask: &Ask) -> Result<Self, StageError> {
        let known = Account::all(invocation.store()).await?;
        let mut owners = owners(&known);
        let accounts = match &ask.owner {
            Some(outside) if is_outside(outside) => {
                owners = vec![outside.clone()];
                known
            }
            Some(name) => {
                let named = Account::find(invocation.store(), name).await?;
                vec![named.ok_or_else(|| unknown(name, &known))?]
            }
            None => known,
        };
        Ok(Self {
            accounts: or_own(accounts),
            owners,
        })
    }

    /// Each account in each of the regions that it has.
    pub fn places<'a>(
        &'a self,
        regions: &'a [String],
    ) -> Result<Vec<(&'a Account, &'a str)>, StageError> {
        let of = |account: &'a Account| {
            let has = |region: &&String| account.has_region(region);
            regions
                .iter()
                .filter(has)
                .map(move |region| (account, region.as_str()))
        };
        let places: Vec<_> = self.accounts.iter().flat_map(of).collect();
        if places.is_empty() {
            let message = format!("{self} have no region of {}", regions.join(", "));
            return Err(StageError::invalid("regions", message));
        }
        Ok(places)
    }
}

impl std::fmt::Display for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self
            .accounts
            .iter()
            .map(|account| account.name.as_str())
            .collect();
        write!(f, "the accounts {}", names.join(", "))
    }
}

/// Twelve digits, or one of EC2's own names.
fn is_outside(owner: &str) -> bool {
    ALIASES.contains(&owner)
        || owner.len() == 12 && owner.bytes().all(|digit| digit.is_ascii_digit())
}

/// The account that looks, and all that are known here.
fn owners(known: &[Account]) -> Vec<String> {
    let mut owners = vec!["self".to_owned()];
    for account in known {
        if !account.account_id.is_empty() && !owners.contains(&account.account_id) {
            owners.push(account.account_id.clone());
        }
    }
    owners
}

/// Where no account is known, there is the one that the functions run in.
fn or_own(accounts: Vec<Account>) -> Vec<Account> {
    if !accounts.is_empty() {
        return accounts;
    }
    vec![Account {
        name: "(this installation's own)".to_owned(),
        ..Account::default()
    }]
}

fn unknown(name: &str, known: &[Account]) -> StageError {
    let known: Vec<&str> = known.iter().map(|account| account.name.as_str()).collect();
    let message = format!(
        "account `{name}` is not one of those known here, [{}]; `gennaker account save` adds one, an owner elsewhere \
         is named by its twelve digits",
        known.join(", ")
    );
    StageError::invalid("imageOwnerAccount", message)
}
