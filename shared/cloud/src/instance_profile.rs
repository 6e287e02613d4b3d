//! The port to IAM's instance profiles. Its adapter is in `gennaker-http`: one signed request is all that is asked.

use async_trait::async_trait;

use crate::CloudError;

/// Looks at the instance profiles of an account.
#[async_trait]
pub trait InstanceProfiles: Send + Sync {
    /// Whether there is an instance profile of this name. (`iam:GetInstanceProfile`)
    async fn exists(&self, name: &str, now: i64) -> Result<bool, CloudError>;

    /// The names of the account's instance profiles, a hundred at most. (`iam:ListInstanceProfiles`)
    async fn names(&self, now: i64) -> Result<Vec<String>, CloudError>;
}

/// The calls of [`InstanceProfiles`], with the IAM actions that they need.
pub mod calls {
    crate::iam::calls! { "InstanceProfiles":
        EXISTS = "exists" => ["iam:GetInstanceProfile"];
        NAMES = "names" => ["iam:ListInstanceProfiles"];
    }
}

/// The name in an instance profile's ARN; what is none is a name.
#[must_use]
pub fn name_in(profile: &str) -> &str {
    match profile.split_once(":instance-profile/") {
        Some((_, path)) => path.rsplit('/').next().unwrap_or(path),
        None => profile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_known_by_its_name_and_by_its_arn() {
        for (profile, name) in [
            ("BaseIAMRole", "BaseIAMRole"),
            ("arn:aws:iam::123456789012:instance-profile/web", "web"),
            (
                "arn:aws:iam::123456789012:instance-profile/teams/shop/web",
                "web",
            ),
        ] {
            assert_eq!(name_in(profile), name);
        }
    }
}
