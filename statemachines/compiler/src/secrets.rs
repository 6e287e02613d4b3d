//! Secrets that are written into a pipeline instead of referred to.
//!
//! What only can be a secret (a private key, a token whose provider marks it as one) is refused wherever it stands. What
//! merely is called one in a stage is warned of: it may be a placeholder.

use std::collections::HashSet;

use gennaker_domain::Problem;
use serde_json::{Map, Value};

use crate::{
    options::Mode,
    parse::{Pipeline, Stage},
    validate::shortened,
};

const CODE: &str = "secret-in-plain-text";
const HINT: &str =
    "write a reference: `ssm:/path`, `secretsmanager:name`, or Spinnaker's `encrypted:…`";

/// Words in a key whose value should not be readable in a pipeline.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "apikey",
    "api_key",
    "privatekey",
    "accesskey",
];
/// Words in the name of a header that proves who calls.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "token"];
/// Keys that only name something: a Kubernetes secret's name, a token's kind.
const HARMLESS_ENDINGS: &[&str] = &["name", "arn", "id", "type", "path", "version"];

/// Ways to refer to a secret.
const SCHEMES: [&str; 5] = [
    "ssm:",
    "secretsmanager:",
    "encrypted:",
    "encryptedFile:",
    "secret://",
];

/// Tokens that say what they are by their first characters: those, the shortest rest, what the rest may hold beside
/// letters and digits, and whose they are.
const TOKENS: [(&str, usize, &str, &str); 12] = [
    ("ghp_", 36, "", "a GitHub token"),
    ("gho_", 36, "", "a GitHub token"),
    ("ghu_", 36, "", "a GitHub token"),
    ("ghs_", 36, "", "a GitHub token"),
    ("ghr_", 36, "", "a GitHub token"),
    ("github_pat_", 60, "_", "a GitHub token"),
    ("glpat-", 20, "-_", "a GitLab token"),
    ("xoxb-", 24, "-", "a Slack token"),
    ("xoxp-", 24, "-", "a Slack token"),
    ("xoxa-", 24, "-", "a Slack token"),
    ("xoxs-", 24, "-", "a Slack token"),
    ("xapp-", 24, "-", "a Slack token"),
];
/// Most that is looked at behind one beginning: a text full of them takes no longer than another one.
const LONGEST: usize = 255;
/// Characters that begin a private key at most, up to its kind.
const MARK: usize = 40;
/// Characters of an AWS secret access key.
const AWS_KEY: usize = 40;
/// Different characters that a random text of twenty or more has at least; a placeholder (`xxxx…`) has fewer.
const DIFFERENT: usize = 10;

/// Whether a header's value is known to be a secret by its name.
pub(crate) fn is_secret_header(name: &str) -> bool {
    let lower = name.to_lowercase();
    SECRET_HEADERS.iter().any(|word| lower.contains(word))
        || SECRET_WORDS.iter().any(|word| lower.contains(word))
}

/// Whether a header's value is a reference to a secret, also behind a scheme such as `Bearer`, or an expression.
pub(crate) fn is_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            refers(text)
                || text
                    .split_once(' ')
                    .is_some_and(|(_, rest)| refers(rest.trim()))
        }
        Value::Array(values) => values.iter().all(is_reference),
        _ => false,
    }
}

fn refers(text: &str) -> bool {
    text.is_empty() || text.contains("${") || SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}

/// Tells of secrets in plain text. Where a pipeline is only played ([`Mode::Evaluate`]), nothing is refused for them.
pub fn secrets(pipeline: &Pipeline, mode: Mode, problems: &mut Vec<Problem>) {
    for (key, value) in &pipeline.fields {
        let found = certain_in(value, key, &format!("$.{}", shortened(key)));
        problems.extend(found.into_iter().map(|found| found.problem(mode, None)));
    }
    for stage in &pipeline.stages {
        let mut certain = Vec::new();
        for (key, value) in &stage.context {
            let path = format!("{}.{}", stage.path, shortened(key));
            certain.extend(certain_in(value, key, &path));
        }
        let refused: HashSet<String> = certain.iter().map(|found| found.path.clone()).collect();
        let mut named = Vec::new();
        named_in(&stage.context, &stage.path, 0, &mut named);
        problems.extend(
            certain
                .into_iter()
                .map(|found| found.problem(mode, Some(stage))),
        );
        let only_named = named.into_iter().filter(|path| !refused.contains(path));
        problems.extend(only_named.map(|path| {
            Problem::warning(
                CODE,
                path,
                "this looks like a secret, readable by everyone who may see the pipeline",
            )
            .at_stage(&stage.ref_id)
            .with_hint(HINT)
        }));
    }
}

/// What can only be a secret.
struct Certain {
    path: String,
    what: &'static str,
}

impl Certain {
    fn problem(self, mode: Mode, stage: Option<&Stage>) -> Problem {
        let message = format!(
            "this is {}, readable by everyone who may see the pipeline",
            self.what
        );
        let problem = if mode == Mode::Evaluate {
            Problem::warning(CODE, self.path, message)
        } else {
            Problem::error(CODE, self.path, message)
        };
        let problem = problem.with_hint(format!("{HINT}; and replace it, for it was readable"));
        match stage {
            Some(stage) => problem.at_stage(&stage.ref_id),
            None => problem,
        }
    }
}

/// The secrets in a value under a key. The reader bounds how deep it is nested.
fn certain_in(value: &Value, key: &str, path: &str) -> Vec<Certain> {
    match value {
        Value::String(text) => certain(key, text)
            .map(|what| Certain {
                path: path.to_owned(),
                what,
            })
            .into_iter()
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .flat_map(|(at, value)| certain_in(value, key, &format!("{path}[{at}]")))
            .collect(),
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| certain_in(value, key, &format!("{path}.{}", shortened(key))))
            .collect(),
        _ => Vec::new(),
    }
}

/// What secret a text holds for certain.
fn certain(key: &str, text: &str) -> Option<&'static str> {
    if has_private_key(text) {
        return Some("a private key");
    }
    if is_aws_key(key, text) || assigns_aws_key(text) {
        return Some("an AWS secret access key");
    }
    TOKENS
        .iter()
        .find(|(start, shortest, beside, _)| has_token(text, start, *shortest, beside))
        .map(|(.., what)| *what)
}

/// Whether the text has the begin of a private key and some of what follows it.
fn has_private_key(text: &str) -> bool {
    text.match_indices("PRIVATE KEY-----").any(|(at, mark)| {
        let before = text.get(..at).unwrap_or_default();
        let after = text.get(at + mark.len()..).unwrap_or_default();
        // `-----BEGIN RSA PRIVATE KEY-----`; a line end may be written as `\n`.
        let near = before.len().saturating_sub(MARK);
        let near = (near..=before.len()).find_map(|at| before.get(at..));
        let begins = near.is_some_and(|near| near.contains("-----BEGIN "));
        let body: String = after.chars().take(LONGEST).collect();
        let body: String = body
            .replace("\\n", "")
            .chars()
            .filter(|one| !one.is_whitespace())
            .take(64)
            .collect();
        begins && body.len() == 64 && body.chars().all(is_base64) && is_random(&body)
    })
}

fn has_token(text: &str, start: &str, shortest: usize, beside: &str) -> bool {
    text.match_indices(start).any(|(at, _)| {
        let inside_a_word = text
            .get(..at)
            .and_then(|before| before.chars().next_back())
            .is_some_and(|before| before.is_ascii_alphanumeric());
        let rest = text.get(at + start.len()..).unwrap_or_default();
        let rest: String = rest
            .chars()
            .take_while(|one| one.is_ascii_alphanumeric() || beside.contains(*one))
            .take(shortest + 8)
            .collect();
        !inside_a_word
            && rest.len() >= shortest
            && rest.bytes().any(|byte| byte.is_ascii_digit())
            && is_random(&rest)
    })
}

/// Whether a key that says so has a value of an AWS secret access key's form.
fn is_aws_key(key: &str, text: &str) -> bool {
    names_aws_key(key) && text.len() == AWS_KEY && text.chars().all(is_base64) && is_random(text)
}

fn names_aws_key(key: &str) -> bool {
    let plain: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    plain.ends_with("secretaccesskey") || plain.ends_with("awssecretkey")
}

/// Whether a script or a file of settings in the text gives `aws_secret_access_key` its value.
fn assigns_aws_key(text: &str) -> bool {
    const NAME: &str = "secret_access_key";
    text.to_ascii_lowercase()
        .match_indices(NAME)
        .any(|(at, _)| {
            // Of the same length in bytes: only ASCII was changed.
            let rest = text.get(at + NAME.len()..).unwrap_or_default();
            let value: String = rest
                .chars()
                .take(LONGEST)
                .skip_while(|one| " \t\"'\\:=".contains(*one))
                .take_while(|one| is_base64(*one))
                .collect();
            value.len() == AWS_KEY && is_random(&value)
        })
}

fn is_base64(one: char) -> bool {
    one.is_ascii_alphanumeric() || "+/=".contains(one)
}

/// Whether a text could be random, and is not a placeholder or an example of somebody's handbook.
fn is_random(text: &str) -> bool {
    let different: HashSet<char> = text.chars().collect();
    different.len() >= DIFFERENT && !text.to_ascii_uppercase().contains("EXAMPLE")
}

/// Paths of texts under keys that are called secret.
fn named_in(object: &Map<String, Value>, path: &str, depth: usize, found: &mut Vec<String>) {
    for (key, value) in object {
        let lower = key.to_lowercase();
        let key_path = || format!("{path}.{}", shortened(key));
        match value {
            Value::String(text) => {
                let named = SECRET_WORDS.iter().any(|word| lower.contains(word))
                    && !HARMLESS_ENDINGS
                        .iter()
                        .any(|ending| lower.ends_with(ending));
                if named && !refers(text) {
                    found.push(key_path());
                }
            }
            // What lies deeper is a manifest, not a setting.
            Value::Object(inner) if depth < 4 => named_in(inner, &key_path(), depth + 1, found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters and digits that repeat only after thirty-six.
    fn noise(length: usize) -> String {
        "q7Rw2Zk9Lm4Xc8Vb1Np6Ts3Yd5Hf0Gj"
            .chars()
            .cycle()
            .take(length)
            .collect()
    }

    #[test]
    fn what_only_can_be_a_secret_is_known() {
        let pem = |kind: &str| format!("-----BEGIN {kind}PRIVATE KEY-----\n{}\n", noise(64));
        for (key, text) in [
            (
                "x",
                format!("curl -H 'Authorization: token ghp_{}'", noise(36)),
            ),
            ("x", format!("github_pat_{}_{}", noise(22), noise(59))),
            ("x", format!("glpat-{}", noise(20))),
            (
                "x",
                format!("xoxb-123456789012-1234567890123-{}", noise(24)),
            ),
            ("x", pem("RSA ")),
            ("x", pem("").replace('\n', "\\n")),
            ("AWS_SECRET_ACCESS_KEY", noise(40)),
            ("secretAccessKey", noise(40)),
            (
                "script",
                format!("export AWS_SECRET_ACCESS_KEY=\"{}\"\nmake", noise(40)),
            ),
        ] {
            assert!(certain(key, &text).is_some(), "{key}: {text}");
        }
    }

    #[test]
    fn a_text_full_of_beginnings_takes_no_longer_than_another_one() {
        for (start, ..) in TOKENS {
            assert_eq!(certain("x", &start.repeat(10_000)), None, "{start}");
        }
        for text in [
            "PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----",
            "secret_access_key = ",
        ] {
            assert_eq!(certain("x", &text.repeat(10_000)), None, "{text}");
        }
    }

    #[test]
    fn placeholders_references_and_public_things_are_not() {
        for (key, text) in [
            ("x", "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".to_owned()),
            ("x", "ghp_your_token".to_owned()),
            ("x", format!("weighp_{}", noise(36))),
            ("x", "xoxb-your-bot-token-goes-right-here".to_owned()),
            ("x", format!("-----BEGIN PUBLIC KEY-----\n{}", noise(64))),
            ("x", "-----BEGIN RSA PRIVATE KEY-----\n...\n".to_owned()),
            ("x", noise(40)),
            (
                "secretAccessKey",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            ),
            ("secretAccessKey", "ssm:/shop/key".to_owned()),
            ("secretAccessKey", noise(39)),
            (
                "script",
                "AWS_SECRET_ACCESS_KEY=${parameters.key}".to_owned(),
            ),
            ("é", "PRIVATE KEY-----é".to_owned()),
        ] {
            assert_eq!(certain(key, &text), None, "{key}: {text}");
        }
    }
}
