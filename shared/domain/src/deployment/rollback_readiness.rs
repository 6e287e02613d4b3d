//! Whether a deployment could go back to the server group that it takes over from.

use std::fmt;

use serde_json::{Map, Value};

use super::context::ContextError;

/// The key in a cluster's JSON.
pub const FIELD: &str = "rollbackReadiness";

/// What a deployment does that could not go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenNotReady {
    /// It stops before it touches the old server group.
    #[default]
    Stop,
    /// It goes on and says so.
    Warn,
    /// Nothing is looked at.
    Ignore,
}

impl WhenNotReady {
    /// Reads `"rollbackReadiness": "stop|warn|ignore"`; without it a deployment stops.
    ///
    /// # Errors
    /// [`ContextError`] for anything else.
    pub fn from_context(context: &Map<String, Value>) -> Result<Self, ContextError> {
        match context.get(FIELD) {
            None | Some(Value::Null) => Ok(Self::Stop),
            Some(value) => match value.as_str() {
                Some("stop") => Ok(Self::Stop),
                Some("warn") => Ok(Self::Warn),
                Some("ignore") => Ok(Self::Ignore),
                _ => Err(ContextError::new(
                    FIELD,
                    value,
                    "`stop`, `warn` or `ignore`",
                )),
            },
        }
    }
}

/// What the way back needs of EC2, while both server groups run, and what the account has of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cores {
    /// vCPUs of both server groups at their full sizes.
    pub needed: u64,
    /// The account's quota in the region for instances of that kind on demand, vCPUs.
    pub quota: u64,
}

/// Quotas of EC2 for instances on demand: how their types begin, and the quota's code. All other types (a, c, d, h, i, m, r,
/// t, z) share [`STANDARD`].
const QUOTAS: [(&str, &str); 9] = [
    ("dl", "L-6E869C2A"),
    ("f", "L-74FC7D96"),
    ("g", "L-DB2E81BA"),
    ("hpc", "L-F7808C92"),
    ("inf", "L-1945791B"),
    ("p", "L-417A185B"),
    ("trn", "L-2C3B7624"),
    ("u-", "L-43DA4232"),
    ("x", "L-7295265B"),
];
/// The quota of the standard types.
const STANDARD: &str = "L-1216C47A";

/// The code of the quota that an instance type counts against on demand; types of one code share it.
#[must_use]
pub fn quota_of(instance_type: &str) -> &'static str {
    let family = instance_type.split('.').next().unwrap_or_default();
    // Graphics types with other names (`gr6`, `vt1`) share the quota of `g`.
    let begins = |(begin, _): &&(&str, &str)| {
        let rest = family.strip_prefix(begin);
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == 'r'))
            || (begin.ends_with('-') && rest.is_some())
    };
    if family.starts_with("vt") {
        return "L-DB2E81BA";
    }
    QUOTAS
        .iter()
        .find(begins)
        .map_or(STANDARD, |(_, code)| code)
}

/// What is known of the way back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WayBack {
    /// The old server group is there and is not being deleted.
    pub group_exists: bool,
    /// Id and version of its launch template; none for a group that has a launch configuration.
    pub template: Option<(String, String)>,
    /// The image of that version; none if the version is gone.
    pub image: Option<String>,
    /// The state of that image, such as `available`; none if it is not registered (or not shared any more).
    pub image_state: Option<String>,
    /// vCPUs; none where nobody knows.
    pub cores: Option<Cores>,
}

/// What a way back lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The old server group is gone.
    Group,
    /// The version of its launch template is gone: it can launch nothing.
    Template {
        /// `lt-…`
        id: String,
        /// Its version.
        version: String,
    },
    /// Its image is not there: its launches fail.
    Image {
        /// `ami-…`
        id: String,
        /// Its state; none if it is not registered.
        state: Option<String>,
    },
    /// Both server groups cannot run at once.
    Quota(Cores),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group => f.write_str("it is gone"),
            Self::Template { id, version } => {
                write!(f, "version {version} of its launch template `{id}` is gone")
            }
            Self::Image { id, state: None } => write!(f, "its image `{id}` is not registered"),
            Self::Image {
                id,
                state: Some(state),
            } => write!(f, "its image `{id}` is {state}"),
            Self::Quota(Cores { needed, quota }) => write!(
                f,
                "both server groups need {needed} vCPUs, the account's quota is {quota}"
            ),
        }
    }
}

/// What the way back lacks; empty if a deployment could go back.
#[must_use]
pub fn lacks(way: &WayBack) -> Vec<Lack> {
    if !way.group_exists {
        return vec![Lack::Group];
    }
    let mut found = lack_of_launch(way);
    if let Some(cores) = way
        .cores
        .as_ref()
        .filter(|cores| cores.needed > cores.quota)
    {
        found.push(Lack::Quota(cores.clone()));
    }
    found
}

fn lack_of_launch(way: &WayBack) -> Vec<Lack> {
    match (&way.template, &way.image) {
        // A launch configuration cannot be changed or deleted while its group is there.
        (None, _) => Vec::new(),
        (Some((id, version)), None) => vec![Lack::Template {
            id: id.clone(),
            version: version.clone(),
        }],
        (Some(_), Some(image)) if way.image_state.as_deref() != Some("available") => {
            vec![Lack::Image {
                id: image.clone(),
                state: way.image_state.clone(),
            }]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_way_back_needs_the_group_its_template_and_its_image() {
        let whole = WayBack {
            group_exists: true,
            template: Some(("lt-1".to_owned(), "3".to_owned())),
            image: Some("ami-1".to_owned()),
            image_state: Some("available".to_owned()),
            cores: Some(Cores {
                needed: 12,
                quota: 12,
            }),
        };
        let said =
            |way: WayBack| -> Vec<String> { lacks(&way).iter().map(ToString::to_string).collect() };
        assert!(said(whole.clone()).is_empty());
        assert!(
            said(WayBack {
                template: None,
                image: None,
                ..whole.clone()
            })
            .is_empty()
        );
        assert_eq!(
            said(WayBack {
                group_exists: false,
                ..whole.clone()
            }),
            ["it is gone"]
        );
        assert_eq!(
            said(WayBack {
                image: None,
                ..whole.clone()
            }),
            ["version 3 of its launch template `lt-1` is gone"]
        );
        assert_eq!(
            said(WayBack {
                image_state: None,
                ..whole.clone()
            }),
            ["its image `ami-1` is not registered"]
        );
        assert_eq!(
            said(WayBack {
                image_state: Some("deregistered".to_owned()),
                ..whole.clone()
            }),
            ["its image `ami-1` is deregistered"]
        );
        assert_eq!(
            said(WayBack {
                cores: Some(Cores {
                    needed: 12,
                    quota: 11
                }),
                ..whole
            }),
            ["both server groups need 12 vCPUs, the account's quota is 11"]
        );
    }

    #[test]
    fn types_of_one_kind_share_a_quota() {
        for standard in [
            "t3.small",
            "m7gd.large",
            "i4i.large",
            "c5.xlarge",
            "im4gn.large",
            "hs1.8xlarge",
            "",
        ] {
            assert_eq!(quota_of(standard), STANDARD, "{standard}");
        }
        for (other, code) in [
            ("p5.48xlarge", "L-417A185B"),
            ("g5.xlarge", "L-DB2E81BA"),
            ("gr6.4xlarge", "L-DB2E81BA"),
            ("vt1.3xlarge", "L-DB2E81BA"),
            ("inf2.xlarge", "L-1945791B"),
            ("x2idn.16xlarge", "L-7295265B"),
            ("u-6tb1.metal", "L-43DA4232"),
            ("hpc7g.4xlarge", "L-F7808C92"),
        ] {
            assert_eq!(quota_of(other), code, "{other}");
        }
    }

    #[test]
    fn a_deployment_that_could_not_go_back_stops_unless_told_otherwise() {
        let of = |value: Value| {
            WhenNotReady::from_context(json!({ "rollbackReadiness": value }).as_object().unwrap())
        };
        assert_eq!(
            WhenNotReady::from_context(&Map::new()),
            Ok(WhenNotReady::Stop)
        );
        assert_eq!(of(Value::Null), Ok(WhenNotReady::Stop));
        assert_eq!(of(json!("warn")), Ok(WhenNotReady::Warn));
        assert_eq!(of(json!("ignore")), Ok(WhenNotReady::Ignore));
        assert!(of(json!(true)).is_err());
    }
}
