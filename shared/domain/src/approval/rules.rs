//! Who may answer, and how many must.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Choice, UNATTRIBUTED, Vote};

/// Most people that a stage may ask for.
const MOST_APPROVALS: u64 = 100;

/// Fields of a stage that name the roles of which one is enough, as Spinnaker has them.
const ROLE_FIELDS: [&str; 3] = [
    "selectedStageRoles",
    "requiredJudgmentRoles",
    "requiredGroupMembership",
];

/// Who may answer a manual judgment, and how many must.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rules {
    /// A person needs one of these; none is everybody.
    pub roles: Vec<String>,
    /// So many people must say continue; 0 counts as 1.
    pub required: u32,
    /// And so many of each role among them.
    pub required_by_role: BTreeMap<String, u32>,
    /// Who asked for the execution may not answer.
    pub prevent_self_approval: bool,
    /// Whoever has the link may answer, without a name.
    pub link_only: bool,
}

/// A field that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RulesError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// Somebody who answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// Name; none if nobody can tell.
    pub name: Option<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// Other names of the same person: e-mail address, Slack user, ARNs.
    pub aliases: Vec<String>,
    /// Whether the installation knows the name: one person may call themselves anything elsewhere.
    pub known: bool,
}

impl Person {
    /// Somebody with a link and nothing else.
    #[must_use]
    pub fn unattributed() -> Self {
        Self::default()
    }

    /// Somebody whom the installation does not know.
    #[must_use]
    pub fn stranger(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::default()
        }
    }

    /// The name to record.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or(UNATTRIBUTED)
    }

    fn has(&self, role: &str) -> bool {
        has(&self.roles, role)
    }

    fn is(&self, name: &str) -> bool {
        let own = |name: &str| {
            self.name
                .iter()
                .chain(&self.aliases)
                .any(|own| own.trim().eq_ignore_ascii_case(name))
        };
        own(name.trim()) || own(without_session(name.trim()))
    }
}

/// An assumed role's ARN without the session: `arn:aws:sts::1:assumed-role/NAME` of `…/NAME/SESSION`. Any other text as it
/// is.
#[must_use]
pub fn without_session(arn: &str) -> &str {
    const FRONT: &str = ":assumed-role/";
    let Some(at) = arn.find(FRONT).filter(|_| arn.starts_with("arn:")) else {
        return arn;
    };
    let role = at + FRONT.len();
    let end = arn
        .get(role..)
        .and_then(|rest| rest.find('/'))
        .map_or(arn.len(), |slash| role + slash);
    arn.get(..end).unwrap_or(arn)
}

fn has(roles: &[String], role: &str) -> bool {
    roles.iter().any(|own| own.eq_ignore_ascii_case(role))
}

/// Why somebody may not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// Nobody can tell who it is.
    #[error("this judgment asks for a person with a name, and nobody can tell who this is")]
    Unattributed,
    /// The installation does not know the name, and names count here.
    #[error(
        "`{person}` is nobody whom this installation knows, and this judgment is not for everybody (`gennaker user save` makes somebody known)"
    )]
    Unknown {
        /// Who.
        person: String,
    },
    /// None of the roles.
    #[error("`{person}` has none of the roles that may decide: {}", .roles.join(", "))]
    Role {
        /// Who.
        person: String,
        /// Any of these would do.
        roles: Vec<String>,
    },
    /// Nobody can tell who asked for the execution, and so not that it was somebody else.
    #[error(
        "nobody can tell who asked for this execution, and `{person}` may approve only what somebody else asked for"
    )]
    UnknownRequester {
        /// Who.
        person: String,
    },
    /// Asked for the execution.
    #[error("`{person}` asked for this execution and may not approve it")]
    Requester {
        /// Who.
        person: String,
    },
}

/// What answers come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tally {
    /// This answer decides; the names are of all who say the same.
    Decided {
        /// Position of the answer.
        vote: usize,
        /// Who says the same.
        approvers: Vec<String>,
    },
    /// More are needed.
    Missing {
        /// What a person reads: `1 more person`.
        what: String,
    },
}

fn boolean(context: &Map<String, Value>, field: &str) -> bool {
    match context.get(field) {
        Some(Value::Bool(set)) => *set,
        Some(Value::String(text)) => text.trim().eq_ignore_ascii_case("true"),
        _ => false,
    }
}

fn count(field: &'static str, value: &Value) -> Result<u32, RulesError> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number
        .filter(|number| (1..=MOST_APPROVALS).contains(number))
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| RulesError {
            field,
            message: format!("`{value}` is no number of people: 1 to {MOST_APPROVALS}"),
        })
}

impl Rules {
    /// The rules of a stage: `selectedStageRoles`, `preventSelfApproval`, and our own `requiredApprovals`,
    /// `requiredApprovalsByRole`, `linkOnly`.
    ///
    /// # Errors
    /// [`RulesError`]: rules that cannot be read are not those of somebody else.
    pub fn of(context: &Map<String, Value>) -> Result<Self, RulesError> {
        let mut roles: Vec<String> = Vec::new();
        for field in ROLE_FIELDS {
            match context.get(field) {
                None | Some(Value::Null) => {}
                Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
                    for role in list.iter().filter_map(Value::as_str).map(str::trim) {
                        if !role.is_empty() && !has(&roles, role) {
                            roles.push(role.to_owned());
                        }
                    }
                }
                Some(other) => {
                    return Err(RulesError {
                        field,
                        message: format!("`{other}` is no list of roles"),
                    });
                }
            }
        }
        let required = match context.get("requiredApprovals") {
            None | Some(Value::Null) => 1,
            Some(value) => count("requiredApprovals", value)?,
        };
        let by_role = match context.get("requiredApprovalsByRole") {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(role, value)| {
                    Ok((
                        role.trim().to_owned(),
                        count("requiredApprovalsByRole", value)?,
                    ))
                })
                .collect::<Result<_, RulesError>>()?,
            Some(other) => {
                return Err(RulesError {
                    field: "requiredApprovalsByRole",
                    message: format!("`{other}` is no object of roles and numbers"),
                });
            }
        };
        let rules = Self {
            roles,
            required,
            required_by_role: by_role,
            prevent_self_approval: boolean(context, "preventSelfApproval"),
            link_only: boolean(context, "linkOnly"),
        };
        if rules.link_only && rules.asks_for_names() {
            return Err(RulesError {
                field: "linkOnly",
                message: "an answer by the link alone has no name: it goes with neither roles, nor several approvals, nor `preventSelfApproval`".to_owned(),
            });
        }
        Ok(rules)
    }

    /// Whether only a person with a name can answer.
    fn asks_for_names(&self) -> bool {
        !self.roles.is_empty()
            || !self.required_by_role.is_empty()
            || self.required > 1
            || self.prevent_self_approval
    }

    /// Every role that has a say.
    #[must_use]
    pub fn deciding_roles(&self) -> Vec<String> {
        let mut roles = self.roles.clone();
        for role in self.required_by_role.keys() {
            if !has(&roles, role) {
                roles.push(role.clone());
            }
        }
        roles
    }

    /// Whether a person may answer. A stop is no approval: who asked for the execution may stop it.
    ///
    /// # Errors
    /// Why not.
    pub fn allow(
        &self,
        person: &Person,
        requester: Option<&str>,
        choice: Choice,
    ) -> Result<(), NotAllowed> {
        let Some(name) = &person.name else {
            return if self.link_only {
                Ok(())
            } else {
                Err(NotAllowed::Unattributed)
            };
        };
        if !person.known && self.asks_for_names() {
            return Err(NotAllowed::Unknown {
                person: name.clone(),
            });
        }
        let roles = self.deciding_roles();
        if !roles.is_empty() && !roles.iter().any(|role| person.has(role)) {
            return Err(NotAllowed::Role {
                person: name.clone(),
                roles,
            });
        }
        if !self.prevent_self_approval || choice != Choice::Continue {
            return Ok(());
        }
        match requester {
            Some(UNATTRIBUTED) => Err(NotAllowed::UnknownRequester {
                person: name.clone(),
            }),
            Some(requester) if person.is(requester) => Err(NotAllowed::Requester {
                person: name.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// What these answers come to, each of another person. One stop is enough; those who continue must be enough who
    /// choose the same input.
    #[must_use]
    pub fn tally(&self, votes: &[Vote]) -> Tally {
        if let Some(vote) = votes.iter().position(|vote| vote.choice == Choice::Stop) {
            let approvers = votes.get(vote).map(|vote| vote.by.clone());
            return Tally::Decided {
                vote,
                approvers: approvers.into_iter().collect(),
            };
        }
        let mut missing = self.missing(&[]);
        for (at, newest) in votes.iter().enumerate().rev() {
            let same: Vec<&Vote> = votes
                .iter()
                .filter(|vote| vote.input == newest.input)
                .collect();
            let lacks = self.missing(&same);
            if lacks.is_empty() {
                return Tally::Decided {
                    vote: at,
                    approvers: same.iter().map(|vote| vote.by.clone()).collect(),
                };
            }
            // What is told is what the newest answer still needs.
            if at + 1 == votes.len() {
                missing = lacks;
            }
        }
        Tally::Missing {
            what: missing.join(", "),
        }
    }

    /// Who is missing for these answers to be enough, in words.
    fn missing(&self, votes: &[&Vote]) -> Vec<String> {
        let mut missing = Vec::new();
        let people = |count: u32| match count {
            1 => "1 more person".to_owned(),
            count => format!("{count} more people"),
        };
        for (role, wanted) in &self.required_by_role {
            let found = votes.iter().filter(|vote| has(&vote.roles, role)).count();
            let lacks = wanted.saturating_sub(u32::try_from(found).unwrap_or(u32::MAX));
            if lacks > 0 {
                missing.push(format!("{} with the role `{role}`", people(lacks)));
            }
        }
        let found = u32::try_from(votes.len()).unwrap_or(u32::MAX);
        let lacks = self.required.max(1).saturating_sub(found);
        if lacks > 0 {
            missing.push(people(lacks));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::super::Via;
    use super::*;
    use serde_json::json;

    fn rules(context: Value) -> Result<Rules, RulesError> {
        Rules::of(context.as_object().unwrap())
    }

    fn person(name: &str, roles: &[&str]) -> Person {
        Person {
            name: Some(name.to_owned()),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            aliases: vec![format!("{name}@example.com")],
            known: true,
        }
    }

    fn vote(by: &str, roles: &[&str], choice: Choice, input: Option<&str>) -> Vote {
        Vote {
            choice,
            input: input.map(str::to_owned),
            reason: None,
            by: by.to_owned(),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            via: Via::Call,
            at: 1,
        }
    }

    #[test]
    fn one_of_the_roles_is_enough_in_any_case_of_its_letters() {
        let rules = rules(
            json!({"selectedStageRoles": ["SRE", " leads "], "requiredJudgmentRoles": ["sre"]}),
        )
        .unwrap();
        assert_eq!(rules.roles, ["SRE", "leads"]);
        let allow = |roles: &[&str]| rules.allow(&person("ada", roles), None, Choice::Continue);
        assert_eq!(allow(&["sre"]), Ok(()));
        assert_eq!(allow(&["Leads", "x"]), Ok(()));
        assert!(matches!(allow(&["x"]), Err(NotAllowed::Role { .. })));
        assert_eq!(
            rules.allow(&Person::unattributed(), None, Choice::Stop),
            Err(NotAllowed::Unattributed)
        );
        let stranger = Person {
            roles: vec!["sre".to_owned()],
            ..Person::stranger("eve")
        };
        assert!(matches!(
            rules.allow(&stranger, None, Choice::Continue),
            Err(NotAllowed::Unknown { .. })
        ));
        let open = Rules::default();
        assert_eq!(open.allow(&stranger, None, Choice::Continue), Ok(()));
    }

    #[test]
    fn who_asked_for_the_execution_may_stop_it_and_not_approve_it_under_any_name() {
        let rules = rules(json!({"preventSelfApproval": true})).unwrap();
        let ada = person("ada", &[]);
        for requester in ["ada", "ADA", "ada@example.com"] {
            assert!(matches!(
                rules.allow(&ada, Some(requester), Choice::Continue),
                Err(NotAllowed::Requester { .. })
            ));
            assert_eq!(rules.allow(&ada, Some(requester), Choice::Stop), Ok(()));
        }
        assert_eq!(rules.allow(&ada, Some("bob"), Choice::Continue), Ok(()));
        assert_eq!(rules.allow(&ada, None, Choice::Continue), Ok(()));
        // Somebody asked, and it may have been ada.
        let nobody = Some(UNATTRIBUTED);
        assert!(matches!(
            rules.allow(&ada, nobody, Choice::Continue),
            Err(NotAllowed::UnknownRequester { .. })
        ));
        assert_eq!(rules.allow(&ada, nobody, Choice::Stop), Ok(()));
        assert_eq!(
            Rules::default().allow(&ada, nobody, Choice::Continue),
            Ok(())
        );
    }

    #[test]
    fn every_session_of_a_role_is_whoever_has_the_role_as_a_name() {
        let role = "arn:aws:sts::123456789012:assumed-role/deployer";
        let session = format!("{role}/ada");
        assert_eq!(without_session(&session), role);
        for text in [
            role,
            "arn:aws:iam::123456789012:user/ada",
            "ada",
            "x:assumed-role/a/b",
            "",
        ] {
            assert_eq!(without_session(text), text);
        }
        let rules = rules(json!({"preventSelfApproval": true})).unwrap();
        let own = |alias: &str| Person {
            aliases: vec![alias.to_owned()],
            ..person("ada", &[])
        };
        let allow = |person: &Person| rules.allow(person, Some(&session), Choice::Continue);
        assert!(allow(&own(role)).is_err() && allow(&own(&session)).is_err());
        assert_eq!(allow(&own(&format!("{role}/bob"))), Ok(()));
    }

    #[test]
    fn a_link_alone_is_enough_only_where_the_stage_says_so_and_asks_for_no_names() {
        let nobody = Person::unattributed();
        let open = rules(json!({"linkOnly": true})).unwrap();
        assert_eq!(open.allow(&nobody, Some("ada"), Choice::Continue), Ok(()));
        assert!(
            rules(json!({}))
                .unwrap()
                .allow(&nobody, None, Choice::Continue)
                .is_err()
        );
        for more in [
            json!({"linkOnly": true, "selectedStageRoles": ["sre"]}),
            json!({"linkOnly": true, "requiredApprovals": 2}),
            json!({"linkOnly": "true", "preventSelfApproval": true}),
        ] {
            assert_eq!(rules(more).unwrap_err().field, "linkOnly");
        }
    }

    #[test]
    fn one_stop_decides_and_a_quorum_counts_people_who_choose_the_same() {
        let rules = rules(json!({"requiredApprovals": "2"})).unwrap();
        let go = Choice::Continue;
        let missing = |votes: &[Vote]| match rules.tally(votes) {
            Tally::Missing { what } => what,
            Tally::Decided { .. } => "nobody".to_owned(),
        };
        let mut votes = vec![vote("ada", &[], go, Some("blue"))];
        assert_eq!(missing(&[]), "2 more people");
        assert_eq!(missing(&votes), "1 more person");
        votes.push(vote("bob", &[], go, Some("green")));
        assert_eq!(
            missing(&votes),
            "1 more person",
            "they chose different things"
        );
        votes.push(vote("eve", &[], go, Some("blue")));
        assert_eq!(
            rules.tally(&votes),
            Tally::Decided {
                vote: 2,
                approvers: vec!["ada".to_owned(), "eve".to_owned()]
            }
        );
        votes.push(vote("bob", &[], Choice::Stop, None));
        assert!(matches!(
            rules.tally(&votes),
            Tally::Decided { vote: 3, .. }
        ));
    }

    #[test]
    fn each_role_must_have_its_number() {
        let rules =
            rules(json!({"requiredApprovalsByRole": {"security": 1, "release": 1}})).unwrap();
        assert_eq!(rules.deciding_roles(), ["release", "security"]);
        let go = Choice::Continue;
        let one = [vote("ada", &["release"], go, None)];
        assert_eq!(
            rules.tally(&one),
            Tally::Missing {
                what: "1 more person with the role `security`".to_owned()
            }
        );
        let both = [vote("ada", &["release", "security"], go, None)];
        assert!(matches!(rules.tally(&both), Tally::Decided { .. }));
    }

    #[test]
    fn rules_that_cannot_be_read_are_refused() {
        for (context, field) in [
            (json!({"requiredApprovals": 0}), "requiredApprovals"),
            (json!({"requiredApprovals": -1}), "requiredApprovals"),
            (json!({"requiredApprovals": "two"}), "requiredApprovals"),
            (
                json!({"requiredApprovalsByRole": {"sre": 1000}}),
                "requiredApprovalsByRole",
            ),
            (
                json!({"requiredApprovalsByRole": ["sre"]}),
                "requiredApprovalsByRole",
            ),
            (json!({"selectedStageRoles": "sre"}), "selectedStageRoles"),
            (json!({"selectedStageRoles": [7]}), "selectedStageRoles"),
        ] {
            assert_eq!(rules(context).unwrap_err().field, field);
        }
    }
}
