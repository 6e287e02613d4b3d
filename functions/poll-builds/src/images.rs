//! Which tags of a registry are new, and that each is handed over.

use std::collections::BTreeSet;

use gennaker_cloud::store::builds::BuildMaster;
use gennaker_cloud::store::registries::{FoundTag, RepositoryTags};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::registry::Registry;
use crate::{PollBuilds, PollError};

/// New tags that one look at a repository takes; the others are those of the next look.
const MOST_NEW: usize = 50;

/// Characters of a tag's digest: ten thousand tags fit into a record, and two of them are the same once in a million
/// repositories.
const MARK: usize = 12;

/// A tag as it is remembered.
fn mark(tag: &str) -> String {
    let mut digest = hex::encode(Sha256::digest(tag));
    digest.truncate(MARK);
    digest
}

/// The marks in what is kept, each of the same length.
fn marks(known: &str) -> BTreeSet<&str> {
    let mut marks = BTreeSet::new();
    let mut rest = known;
    while let Some((one, more)) = rest.split_at_checked(MARK) {
        marks.insert(one);
        rest = more;
    }
    marks
}

/// The listed tags that are not known, so many as one look takes, and what is known with them. A tag that is listed no
/// more is forgotten: it is new when it comes again. Before the first look nothing is new.
fn news<'a>(listed: &'a [String], known: Option<&str>) -> (Vec<&'a str>, String) {
    let before = known.map(marks);
    let mut new = Vec::new();
    let mut after = BTreeSet::new();
    for tag in listed {
        let mark = mark(tag);
        let is_known = before
            .as_ref()
            .is_none_or(|before| before.contains(mark.as_str()));
        if !is_known && !after.contains(&mark) {
            if new.len() == MOST_NEW {
                continue;
            }
            new.push(tag.as_str());
        }
        after.insert(mark);
    }
    (new, after.into_iter().collect())
}

/// The event that triggers of type `docker` hear, in Echo's form.
fn event(account: &str, registry: &str, repository: &str, found: &FoundTag) -> Value {
    let digest = found.digest.as_deref().unwrap_or_default();
    json!({
        "details": { "type": "docker", "source": account },
        "eventId": format!("{account}/{repository}:{}@{digest}", found.tag),
        "content": {
            "account": account, "registry": registry, "repository": repository, "tag": found.tag,
            "digest": found.digest,
        },
    })
}

impl PollBuilds {
    /// Hands the tags of a registry that are new since the last look to `trigger`; how many. A repository that fails
    /// keeps no other from its turn.
    pub(crate) async fn look_at_images(
        &self,
        master: &BuildMaster,
        registry: &mut Registry<'_>,
        now: i64,
    ) -> Result<usize, PollError> {
        let mut handed = 0;
        let mut failed = None;
        for repository in &master.repositories {
            match self
                .look_at_repository(master, registry, repository, now)
                .await
            {
                Ok(count) => handed += count,
                Err(error) => {
                    tracing::error!(master = master.name, repository, reason = %error, "could not be polled");
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(handed), Err)
    }

    async fn look_at_repository(
        &self,
        master: &BuildMaster,
        registry: &mut Registry<'_>,
        repository: &str,
        now: i64,
    ) -> Result<usize, PollError> {
        let place = (master.name.as_str(), repository);
        let host = registry.host();
        let mut before = self.store.repository_tags(place.0, place.1).await?;
        let mut handed = 0;
        if let Some(left) = before.take_if(|before| !before.found.is_empty()) {
            // The look before this one may have died before it handed them over.
            let Some((count, after)) = self.hand_over_images(place, &host, left).await? else {
                return Ok(0);
            };
            handed = count;
            before = Some(after);
        }
        let listed = registry.tags(repository).await?;
        let known = before.as_ref().map(|before| before.known.as_str());
        let (new, after) = news(&listed, known);
        if known == Some(after.as_str()) {
            return Ok(handed);
        }
        let mut found = Vec::new();
        for tag in new {
            found.push(FoundTag {
                tag: tag.to_owned(),
                digest: registry.digest(repository, tag).await?,
                at: now,
            });
        }
        // First what was found and when, so that whoever hands it over hands over the same event.
        let after = RepositoryTags {
            version: before.map_or(0, |before| before.version),
            known: after,
            found,
        };
        let Some(after) = self.store.move_repository_tags(place, after).await? else {
            return Ok(handed);
        };
        if after.found.is_empty() {
            return Ok(handed);
        }
        let more = self.hand_over_images(place, &host, after).await?;
        Ok(handed + more.map_or(0, |(count, _)| count))
    }

    /// Hands over what was found, and notes it. None if somebody else did at the same time.
    async fn hand_over_images(
        &self,
        place: (&str, &str),
        host: &str,
        tags: RepositoryTags,
    ) -> Result<Option<(usize, RepositoryTags)>, PollError> {
        let mut handed = 0;
        for found in &tags.found {
            let event = event(place.0, host, place.1, found);
            handed += usize::from(self.hand_over(event, found.at).await?);
        }
        let done = RepositoryTags {
            found: Vec::new(),
            ..tags
        };
        let after = self.store.move_repository_tags(place, done).await?;
        Ok(after.map(|after| (handed, after)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn nothing_is_new_at_the_first_look_and_later_what_was_not_there() {
        let first = tags(&["a", "b"]);
        let (new, known) = news(&first, None);
        assert!(new.is_empty());
        let listed = tags(&["b", "a", "c", "c"]);
        let (new, after) = news(&listed, Some(&known));
        assert_eq!(new, ["c"]);
        assert_eq!(news(&listed, Some(&after)).0, Vec::<&str>::new());
        // An empty repository is known, too.
        assert_eq!(news(&tags(&["a"]), Some("")).0, ["a"]);
    }

    #[test]
    fn a_tag_that_was_gone_is_new_when_it_comes_again() {
        let (_, known) = news(&tags(&["a", "b"]), None);
        let fewer = tags(&["a"]);
        let (new, known) = news(&fewer, Some(&known));
        assert!(new.is_empty());
        assert_eq!(news(&tags(&["a", "b"]), Some(&known)).0, ["b"]);
    }

    #[test]
    fn more_than_one_look_takes_are_found_by_the_next_ones() {
        let many: Vec<String> = (0..120).map(|n| format!("v{n}")).collect();
        let mut known = String::new();
        let mut found = Vec::new();
        for _ in 0..4 {
            let (new, after) = news(&many, Some(&known));
            found.extend(new.into_iter().map(str::to_owned));
            known = after;
        }
        assert_eq!(found, many);
        assert_eq!(known.len(), 120 * MARK);
    }
}
