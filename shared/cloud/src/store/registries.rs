//! Which tags of a repository of images are done with (`BUILD#<account>`, `REPOSITORY#<repository>`).

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Store, held, object, read};
use crate::{CloudError, Condition, Key, Write};

/// A tag that a poll found, and that may not have been handed over yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundTag {
    /// The tag.
    pub tag: String,
    /// Digest of its manifest then, if the registry says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When it was found, UTC milliseconds: the same however often it is handed over.
    pub at: i64,
}

/// What is known of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryTags {
    /// Counts the writes.
    pub version: u64,
    /// The tags that were seen, as whoever polls writes them.
    pub known: String,
    /// Those that were found and are being handed over.
    #[serde(default)]
    pub found: Vec<FoundTag>,
}

/// Whether a text is a repository's name: parts of letters, numbers and what separates them.
#[must_use]
pub fn is_repository(text: &str) -> bool {
    let known = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
    let is_part = |part: &str| {
        part.bytes().all(known)
            && part
                .bytes()
                .next()
                .is_some_and(|first| first.is_ascii_alphanumeric())
    };
    text.len() <= 255 && text.split('/').all(is_part)
}

fn key(account: &str, repository: &str) -> Key {
    Key::new(
        format!("BUILD#{account}"),
        format!("REPOSITORY#{repository}"),
    )
}

impl Store {
    /// What is known of a repository; none before the first look.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn repository_tags(
        &self,
        account: &str,
        repository: &str,
    ) -> Result<Option<RepositoryTags>, CloudError> {
        let item = self.table.get(&key(account, repository)).await?;
        let tags = item.and_then(|mut item| item.remove("tags"));
        tags.map(|tags| read("tags of a repository", tags))
            .transpose()
    }

    /// Writes what is known now, one version later; it as it is then. None if somebody wrote since it was read: they
    /// will have seen the same tags.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn move_repository_tags(
        &self,
        (account, repository): (&str, &str),
        after: RepositoryTags,
    ) -> Result<Option<RepositoryTags>, CloudError> {
        let unchanged = match after.version {
            0 => Condition::no_item(),
            version => Condition::equals("version", version),
        };
        let after = RepositoryTags {
            version: after.version.saturating_add(1),
            ..after
        };
        let item = object(json!({ "version": after.version, "tags": after }));
        let write = Write::put(key(account, repository), item).only_if(unchanged);
        let written = held(self.table.write(write).await)?;
        Ok(written.then_some(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_docker_defines_are_repositories() {
        for name in ["api", "library/nginx", "a/b-c/d.e_f", "1"] {
            assert!(is_repository(name), "{name}");
        }
        for name in [
            "", "/", "a//b", "../x", "a/../b", "A", "a?x", "a b", "a/é", "-a",
        ] {
            assert!(!is_repository(name), "{name}");
        }
    }
}
