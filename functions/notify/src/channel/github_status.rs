//! The status of a commit on GitHub, as Echo's `GithubNotificationAgent` sets it.

use gennaker_http::Request;
use serde_json::{Value, json};

use super::{ChannelError, Channels, LIMITS, Subject, cut, json_request, refused};
use crate::message::{Message, Tone};

const API: &str = "https://api.github.com";

pub(super) async fn send(
    channels: &Channels,
    given: (Option<&str>, Option<&str>),
    message: &Message,
    subject: Subject<'_>,
    now: i64,
) -> Result<(), ChannelError> {
    let Some((repository, commit)) = commit_of(given, subject.trigger) else {
        return refused("neither the notification nor the trigger names a repository and a commit");
    };
    let settings = &channels.settings;
    let token = channels
        .secret(
            settings.github_token.as_ref(),
            "GitHub token (`GithubToken`)",
            now,
        )
        .await?;
    let api = settings
        .github_api
        .as_deref()
        .unwrap_or(API)
        .trim_end_matches('/');
    let commit = branch_commit(channels, api, &token, &repository, commit).await;
    let url = format!("{api}/repos/{repository}/statuses/{commit}");
    let request =
        json_request(url, &status(message)).header("authorization", format!("token {token}"));
    channels.post(request).await?;
    Ok(())
}

fn status(message: &Message) -> Value {
    let state = match message.tone() {
        Tone::Succeeded => "success",
        Tone::Failed => "failure",
        Tone::Started | Tone::Asked => "pending",
    };
    let context = match &message.stage {
        Some(stage) => format!("stage/{stage}"),
        None => format!("pipeline/{}", message.pipeline),
    };
    json!({
        "state": state,
        "target_url": message.link,
        // GitHub's own limit.
        "description": cut(&message.title, 140),
        "context": context,
    })
}

/// What is said wins; then the trigger's build, then the trigger's own commit.
fn commit_of(given: (Option<&str>, Option<&str>), trigger: &Value) -> Option<(String, String)> {
    let text = |pointer: &str| trigger.pointer(pointer).and_then(Value::as_str);
    let of_git = || Some(format!("{}/{}", text("/project")?, text("/slug")?));
    let repository = given
        .0
        .map(str::to_owned)
        .or_else(|| text("/buildInfo/scm/0/remoteUrl").and_then(repository_of))
        .or_else(of_git)?;
    let commit = given
        .1
        .or_else(|| text("/buildInfo/scm/0/sha1"))
        .or_else(|| text("/hash"))?;
    let is_name = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let (owner, name) = repository.split_once('/')?;
    let is_hash = (7..=64).contains(&commit.len()) && commit.bytes().all(|b| b.is_ascii_hexdigit());
    (is_name(owner) && is_name(name) && is_hash).then(|| (repository.clone(), commit.to_owned()))
}

/// `owner/name` of `git@github.com:owner/name.git` and `https://github.com/owner/name`.
fn repository_of(url: &str) -> Option<String> {
    let path = url.trim_end_matches('/').trim_end_matches(".git");
    let mut parts = path.rsplit(['/', ':']);
    let (name, owner) = (parts.next()?, parts.next()?);
    Some(format!("{owner}/{name}"))
}

/// A merge that a build system made of a pull request is on no branch: the pull request's own commit is meant.
async fn branch_commit(
    channels: &Channels,
    api: &str,
    token: &str,
    repository: &str,
    commit: String,
) -> String {
    let request = Request::get(format!("{api}/repos/{repository}/commits/{commit}"))
        .header("user-agent", "gennaker")
        .header("authorization", format!("token {token}"));
    let Ok(answer) = channels.http.send(&request, &LIMITS).await else {
        return commit;
    };
    let answer: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let message = answer.pointer("/commit/message").and_then(Value::as_str);
    message.and_then(merged_commit).unwrap_or(commit)
}

/// `Merge <hash> into <hash>`.
fn merged_commit(message: &str) -> Option<String> {
    let (branch, into) = message.strip_prefix("Merge ")?.split_once(" into ")?;
    let is_hash = |text: &str| {
        (5..=40).contains(&text.len())
            && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    (is_hash(branch) && is_hash(into)).then(|| branch.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_what_is_said_then_the_builds_then_the_triggers() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        let git = json!({"project": "acme", "slug": "shop", "hash": hash});
        assert_eq!(
            commit_of((None, None), &git),
            Some(("acme/shop".to_owned(), hash.to_owned()))
        );
        assert_eq!(
            commit_of((Some("acme/other"), Some("abcdef0")), &git),
            Some(("acme/other".to_owned(), "abcdef0".to_owned()))
        );
        let build = json!({"buildInfo": {"scm": [{"remoteUrl": "git@github.com:acme/web.git", "sha1": hash}]}});
        assert_eq!(
            commit_of((None, None), &build),
            Some(("acme/web".to_owned(), hash.to_owned()))
        );
        for hostile in ["acme/shop/../../user", "acme/sh?op", "acme"] {
            assert_eq!(
                commit_of((Some(hostile), Some(hash)), &git),
                None,
                "{hostile}"
            );
        }
        assert_eq!(commit_of((None, Some("HEAD")), &git), None);
        assert_eq!(commit_of((None, None), &Value::Null), None);
    }

    #[test]
    fn a_pull_requests_merge_stands_for_its_branch() {
        assert_eq!(
            merged_commit("Merge abcdef0 into 1234567"),
            Some("abcdef0".to_owned())
        );
        assert_eq!(merged_commit("Merge branch into 1234567"), None);
    }
}
