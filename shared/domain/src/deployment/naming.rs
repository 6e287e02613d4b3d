//! Names of server groups: `app[-stack[-detail]]-v000`, as Frigga reads and builds them.
//!
//! A cluster's name is the server group's without its sequence. With a detail and no stack the two hyphens
//! stay: `shop--blue`. A sequence has three to six digits, so `v1234` is one and `v12` is stack text.

use serde::{Deserialize, Serialize};

use super::server_group::{ServerGroup, newest};

/// How many names a cluster has: `v000` to `v999`.
const SEQUENCES: u32 = 1000;

/// The characters of an application and of a stack, as error messages tell them.
const NAME_CHARS: &str = "a-zA-Z0-9._";
/// The characters of a detail.
const DETAIL_CHARS: &str = "-a-zA-Z0-9._~\\^";

/// The parts of a name; all `None` when the name does not match the grammar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The whole name.
    pub group: Option<String>,
    /// The name without its sequence.
    pub cluster: Option<String>,
    /// The application.
    pub app: Option<String>,
    /// The stack, if not empty.
    pub stack: Option<String>,
    /// The detail, if not empty.
    pub detail: Option<String>,
    /// The sequence as it is written, `v012`.
    pub push: Option<String>,
    /// The sequence, 0 to 999,999.
    pub sequence: Option<u32>,
}

/// The part of a name that identifies a cluster or a server group in Spinnaker's JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moniker {
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The detail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// The sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u32>,
}

impl From<Names> for Moniker {
    fn from(names: Names) -> Self {
        Self {
            app: names.app,
            cluster: names.cluster,
            detail: names.detail,
            stack: names.stack,
            sequence: names.sequence,
        }
    }
}

/// The labels that may stand at the end of a cluster's name, as `-c0usa-d0prod`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// `c`
    Countries,
    /// `d`
    DevPhase,
    /// `h`
    Hardware,
    /// `p`
    Partners,
    /// `r`
    Revision,
    /// `u`
    UsedBy,
    /// `w`
    RedBlackSwap,
    /// `z`
    Zone,
}

impl Label {
    const LETTERS: &[u8] = b"cdhpruwz";

    const fn letter(self) -> u8 {
        match self {
            Self::Countries => b'c',
            Self::DevPhase => b'd',
            Self::Hardware => b'h',
            Self::Partners => b'p',
            Self::Revision => b'r',
            Self::UsedBy => b'u',
            Self::RedBlackSwap => b'w',
            Self::Zone => b'z',
        }
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '.' || c == '_'
}

fn is_detail_char(c: char) -> bool {
    is_name_char(c) || matches!(c, '-' | '~' | '^')
}

/// Whether an application or a stack has only the characters that a name may have, and at least one.
#[must_use]
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_name_char)
}

/// Whether a detail has only the characters that it may have, and at least one.
#[must_use]
pub(crate) fn is_name_with_hyphen(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_detail_char)
}

fn is_sequence(text: &str) -> bool {
    text.strip_prefix('v').is_some_and(|digits| {
        (3..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Whether a text begins with a label: one of the letters, `0`, and a letter or digit.
fn begins_with_label(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, b'0', first, ..]
        if Label::LETTERS.contains(letter) && first.is_ascii_alphanumeric())
}

/// Whether a text is a label and nothing else.
fn is_label(text: &str) -> bool {
    begins_with_label(text) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Whether a text would be read as a sequence or as a label inside of a name: it ends in `v` and three to six
/// digits, or one of its hyphen-separated parts begins with a label.
#[must_use]
pub(crate) fn uses_reserved_format(text: &str) -> bool {
    let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
    // `v` and up to six digits before the end; a longer run of digits has no `v` where it would have to be.
    let ends_in_sequence =
        (3..=6).contains(&digits) && text.bytes().rev().nth(digits) == Some(b'v');
    ends_in_sequence || text.split('-').any(begins_with_label)
}

/// Splits the sequence off a name.
fn split_sequence(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once('-') {
        Some((cluster, push)) if is_sequence(push) => (cluster, Some(push)),
        _ => (name, None),
    }
}

/// Takes a name apart; a name that does not match the grammar has no parts.
///
/// `shop-prod-web-v012` is application `shop`, stack `prod`, detail `web`, sequence 12, cluster `shop-prod-web`.
#[must_use]
pub fn parse(name: &str) -> Names {
    let (cluster, push) = split_sequence(name);
    let mut parts = cluster.splitn(3, '-');
    let app = parts.next().unwrap_or_default();
    let (stack, detail) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    if !is_name(app) || !stack.chars().all(is_name_char) || !detail.chars().all(is_detail_char) {
        return Names::default();
    }
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Names {
        group: Some(name.to_owned()),
        cluster: Some(cluster.to_owned()),
        app: Some(app.to_owned()),
        stack: filled(stack),
        detail: filled(detail),
        push: push.map(str::to_owned),
        sequence: push
            .and_then(|push| push.get(1..))
            .and_then(|digits| digits.parse().ok()),
    }
}

impl Names {
    /// The value of a label at the end of the cluster's name: `usa` of `shop-prod-c0usa`.
    #[must_use]
    pub fn label(&self, label: Label) -> Option<String> {
        let cluster = self.cluster.as_deref()?;
        let parts: Vec<&str> = cluster.split('-').collect();
        let labels = parts.iter().rev().take_while(|part| is_label(part)).count();
        let labelled = parts.get(parts.len() - labels..)?.join("-");
        let bytes = labelled.as_bytes();
        // The first place that looks like the label counts, inside the value of another label too.
        let start = bytes.windows(3).position(|window| {
            matches!(window, [letter, b'0', first] if *letter == label.letter() && first.is_ascii_alphanumeric())
        })? + 2;
        let value: String = labelled
            .chars()
            .skip(start)
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        Some(value)
    }
}

/// Builds the name of a cluster: `app`, `app-stack`, `app-stack-detail` or `app--detail`.
///
/// # Errors
/// Fails without an application; characters are not checked, see [`validate`].
pub fn cluster_name(
    app: &str,
    stack: Option<&str>,
    detail: Option<&str>,
) -> Result<String, NamingError> {
    let (stack, detail) = (stack.unwrap_or_default(), detail.unwrap_or_default());
    if app.is_empty() {
        return Err(NamingError::NoApplication);
    }
    Ok(match (stack, detail) {
        ("", "") => app.to_owned(),
        (stack, "") => format!("{app}-{stack}"),
        (stack, detail) => format!("{app}-{stack}-{detail}"),
    })
}

/// Checks the characters of the parts of a new name.
///
/// # Errors
/// Names the part and its value.
pub fn validate(app: &str, stack: Option<&str>, detail: Option<&str>) -> Result<(), NamingError> {
    let invalid = |part, value: &str, allowed| {
        Err(NamingError::InvalidPart {
            part,
            value: value.to_owned(),
            allowed,
        })
    };
    if app.is_empty() {
        return Err(NamingError::NoApplication);
    }
    if !is_name(app) {
        return invalid(Part::Application, app, NAME_CHARS);
    }
    match stack {
        Some(stack) if !stack.is_empty() && !is_name(stack) => {
            return invalid(Part::Stack, stack, NAME_CHARS);
        }
        _ => {}
    }
    match detail {
        Some(detail) if !detail.is_empty() && !is_name_with_hyphen(detail) => {
            invalid(Part::Detail, detail, DETAIL_CHARS)
        }
        _ => Ok(()),
    }
}

/// Refuses a stack or a detail that contains what would be read as a sequence (`-v012-`).
///
/// Not part of [`validate`]: clusters named so exist, and have to stay deployable.
///
/// # Errors
/// Names the part.
pub(crate) fn validate_no_sequence(
    stack: Option<&str>,
    detail: Option<&str>,
) -> Result<(), NamingError> {
    for (part, value) in [(Part::Stack, stack), (Part::Detail, detail)] {
        if let Some(value) = value
            && value.split('-').any(is_sequence)
        {
            return Err(NamingError::ContainsSequence {
                part,
                value: value.to_owned(),
            });
        }
    }
    Ok(())
}

/// The name of a cluster's next server group.
///
/// `existing` are the server groups of this cluster in the region of the new one. The sequence is the newest
/// group's plus one, modulo 1000, and the next that is free from there: after `v999` comes `v000`. The first
/// is `v000`; if the newest has no sequence, the next is `v001`. Newest is by creation time, not by number.
///
/// # Errors
/// Fails when the cluster's name has characters that a name may not have, or when all names are taken.
pub fn next_server_group_name(
    cluster_name: &str,
    existing: &[ServerGroup],
) -> Result<String, NamingError> {
    let mut parts = cluster_name.splitn(3, '-');
    let app = parts.next().unwrap_or_default();
    let sequence = next_sequence(cluster_name, existing)?;
    validate(app, parts.next(), parts.next())?;
    Ok(format!("{cluster_name}-v{sequence:03}"))
}

/// The sequence of [`next_server_group_name`], 0 to 999.
///
/// # Errors
/// Fails when all are taken.
pub(crate) fn next_sequence(
    cluster_name: &str,
    existing: &[ServerGroup],
) -> Result<u32, NamingError> {
    let taken: Vec<u32> = existing
        .iter()
        .filter_map(|group| parse(&group.name).sequence)
        .collect();
    let first = match newest(existing) {
        Some(newest) => (parse(&newest.name).sequence.unwrap_or(0) + 1) % SEQUENCES,
        None => 0,
    };
    (0..SEQUENCES)
        .map(|step| (first + step) % SEQUENCES)
        .find(|sequence| !taken.contains(sequence))
        .ok_or_else(|| NamingError::AllTaken {
            cluster: cluster_name.to_owned(),
        })
}

/// A part of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The application.
    Application,
    /// The stack.
    Stack,
    /// The detail.
    Detail,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Application => "application",
            Self::Stack => "stack",
            Self::Detail => "detail",
        })
    }
}

/// Why a name cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamingError {
    /// There is no application.
    #[error("a server group's name needs an application")]
    NoApplication,
    /// A part has characters that it may not have.
    #[error("invalid {part} `{value}`, it may contain {allowed} only")]
    InvalidPart {
        /// Which part.
        part: Part,
        /// Its value.
        value: String,
        /// The characters it may have.
        allowed: &'static str,
    },
    /// A stack or detail would be read as a sequence.
    #[error("{part} `{value}` contains a sequence such as v012")]
    ContainsSequence {
        /// Which part.
        part: Part,
        /// Its value.
        value: String,
    },
    /// All names from v000 to v999 are taken.
    #[error("all server group names of cluster `{cluster}` are taken, v000 to v999")]
    AllTaken {
        /// The cluster.
        cluster: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(names: &[&str]) -> Vec<ServerGroup> {
        names
            .iter()
            .zip(0_i64..)
            .map(|(name, created_millis)| ServerGroup {
                name: (*name).to_owned(),
                created_millis,
                ..ServerGroup::default()
            })
            .collect()
    }

    #[test]
    fn takes_a_name_apart() {
        let names = parse("shop-prod-web-v012");
        assert_eq!(names.app.as_deref(), Some("shop"));
        assert_eq!(names.cluster.as_deref(), Some("shop-prod-web"));
        assert_eq!(names.sequence, Some(12));
        assert_eq!(parse("shop--blue-v1").detail.as_deref(), Some("blue-v1"));
        assert_eq!(parse("-shop"), Names::default());
        assert_eq!(parse("shöp-v001"), Names::default());
    }

    #[test]
    fn goes_on_after_the_newest_and_wraps_at_v999() {
        assert_eq!(next_server_group_name("shop", &[]).unwrap(), "shop-v000");
        assert_eq!(
            next_server_group_name("shop", &groups(&["shop-v998", "shop-v999"])).unwrap(),
            "shop-v000"
        );
        assert_eq!(
            next_server_group_name("shop", &groups(&["shop-v000", "shop-v999"])).unwrap(),
            "shop-v001"
        );
        assert_eq!(
            next_server_group_name("shop", &groups(&["shop-v007", "shop"])).unwrap(),
            "shop-v001"
        );
    }

    #[test]
    fn refuses_when_every_name_is_taken() {
        let names: Vec<String> = (0..1000).map(|n| format!("shop-v{n:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(
            next_server_group_name("shop", &groups(&names)),
            Err(NamingError::AllTaken {
                cluster: "shop".to_owned()
            })
        );
    }

    #[test]
    fn reads_labels_at_the_end_only() {
        assert_eq!(
            parse("shop-c0usa-d0prod-v001")
                .label(Label::Countries)
                .as_deref(),
            Some("usa")
        );
        assert_eq!(parse("shop-c0usa-web").label(Label::Countries), None);
    }
}
