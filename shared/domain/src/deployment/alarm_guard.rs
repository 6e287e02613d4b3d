//! Alarms that stop a deployment: which there are, and what their states mean for it.

use std::fmt;

use serde_json::{Map, Value};

use super::context::{self, ContextError};

/// The key of the guard in a cluster's JSON.
pub const FIELD: &str = "alarmGuard";

/// The most alarms of a guard: one call describes a hundred.
const MAX_ALARMS: usize = 100;

/// The longest watch after a deployment, in minutes: a day.
const MAX_MINUTES: i64 = 24 * 60;

/// What a deployment's `alarmGuard` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmGuard {
    /// Names of CloudWatch alarms, metric or composite.
    pub alarms: Vec<String>,
    /// How long they are watched after the deployment, in minutes.
    pub minutes_after: i64,
    /// Where they are; none is the deployment's own region.
    pub region: Option<String>,
    /// In which account; none is the deployment's own.
    pub account: Option<String>,
    /// An alarm that does not exist stops the deployment.
    pub missing_stops: bool,
    /// An alarm without enough data stops it.
    pub insufficient_data_stops: bool,
}

impl AlarmGuard {
    /// The guard of a context, if it has one: `{"alarms": ["name"], "minutesAfter": 10, "region": …, "account": …,
    /// "missing": "stop|ignore", "insufficientData": "stop|ignore"}`. A missing alarm stops unless it says otherwise: a
    /// misspelt name guards nothing. Too little data does not: a new alarm has none.
    ///
    /// # Errors
    /// [`ContextError`] for a guard without alarms, with too many, or a value that is none of its kind.
    pub fn from_context(context: &Map<String, Value>) -> Result<Option<Self>, ContextError> {
        let value = match context.get(FIELD) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        let Value::Object(said) = value else {
            return Err(ContextError::new(FIELD, value, "an object with `alarms`"));
        };
        let alarms = context::text_list(said, "alarms").unwrap_or_default();
        let written = said.get("alarms").unwrap_or(&Value::Null);
        let all_texts = written
            .as_array()
            .is_some_and(|list| list.len() == alarms.len());
        if alarms.is_empty()
            || alarms.len() > MAX_ALARMS
            || !all_texts
            || alarms.iter().any(String::is_empty)
        {
            return Err(ContextError::new(
                "alarmGuard.alarms",
                written,
                "a list of 1 to 100 names of alarms",
            ));
        }
        let minutes_after = context::integer(said, "minutesAfter")?.unwrap_or(0);
        if !(0..=MAX_MINUTES).contains(&minutes_after) {
            return Err(ContextError::new(
                "alarmGuard.minutesAfter",
                &minutes_after.into(),
                "0 to 1440 minutes",
            ));
        }
        let stops = |key: &str, name: &str, default: bool| match said.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::String(text)) if text == "stop" => Ok(true),
            Some(Value::String(text)) if text == "ignore" => Ok(false),
            Some(other) => Err(ContextError::new(key, other, "`stop` or `ignore`")),
        };
        Ok(Some(Self {
            minutes_after,
            region: context::filled_text(said, "region"),
            account: context::filled_text(said, "account"),
            missing_stops: stops("alarmGuard.missing", "missing", true)?,
            insufficient_data_stops: stops(
                "alarmGuard.insufficientData",
                "insufficientData",
                false,
            )?,
            alarms,
        }))
    }
}

/// What CloudWatch says of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmState {
    /// `OK`
    Ok,
    /// `ALARM`
    Alarm,
    /// `INSUFFICIENT_DATA`
    InsufficientData,
}

/// An alarm as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: AlarmState,
    /// Why it is so, as CloudWatch says it.
    pub reason: String,
}

/// Why a deployment stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarmed {
    /// An alarm went off.
    InAlarm {
        /// Its name.
        name: String,
        /// Why, as CloudWatch says it.
        reason: String,
    },
    /// There is no such alarm.
    Missing {
        /// The name.
        name: String,
    },
    /// The alarm has too little data, and that is to stop the deployment.
    InsufficientData {
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Alarmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InAlarm { name, reason } if reason.is_empty() => {
                write!(f, "alarm `{name}` is in ALARM")
            }
            Self::InAlarm { name, reason } => write!(f, "alarm `{name}` is in ALARM: {reason}"),
            Self::Missing { name } => write!(f, "alarm `{name}` not found"),
            Self::InsufficientData { name } => write!(f, "alarm `{name}` has too little data"),
        }
    }
}

/// What stops the deployment, in the order of the guard's alarms; empty lets it go on.
#[must_use]
pub fn alarmed(guard: &AlarmGuard, alarms: &[Alarm]) -> Vec<Alarmed> {
    guard
        .alarms
        .iter()
        .filter_map(|name| {
            let known = alarms.iter().find(|alarm| alarm.name == *name);
            let name = name.clone();
            match known.map(|alarm| (alarm.state, &alarm.reason)) {
                None => guard.missing_stops.then_some(Alarmed::Missing { name }),
                Some((AlarmState::Ok, _)) => None,
                Some((AlarmState::Alarm, reason)) => Some(Alarmed::InAlarm {
                    name,
                    reason: reason.clone(),
                }),
                Some((AlarmState::InsufficientData, _)) => guard
                    .insufficient_data_stops
                    .then_some(Alarmed::InsufficientData { name }),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn guard(value: Value) -> Result<Option<AlarmGuard>, ContextError> {
        AlarmGuard::from_context(json!({ "alarmGuard": value }).as_object().unwrap())
    }

    #[test]
    fn a_guard_without_a_name_or_with_a_wrong_value_is_refused() {
        assert_eq!(AlarmGuard::from_context(&Map::new()).unwrap(), None);
        assert_eq!(guard(Value::Null).unwrap(), None);
        for wrong in [
            json!("5xx"),
            json!({}),
            json!({"alarms": []}),
            json!({"alarms": "5xx"}),
            json!({"alarms": ["5xx", 1]}),
            json!({"alarms": [""]}),
            json!({"alarms": vec!["a"; 101]}),
            json!({"alarms": ["a"], "minutesAfter": -1}),
            json!({"alarms": ["a"], "minutesAfter": 1441}),
            json!({"alarms": ["a"], "minutesAfter": "soon"}),
            json!({"alarms": ["a"], "missing": "perhaps"}),
        ] {
            assert!(guard(wrong.clone()).is_err(), "{wrong}");
        }
        let all = json!({"alarms": ["a"], "minutesAfter": "10", "region": "eu-west-1", "account": "watch",
            "missing": "ignore", "insufficientData": "stop"});
        let all = guard(all).unwrap().unwrap();
        assert_eq!(
            (
                all.minutes_after,
                all.missing_stops,
                all.insufficient_data_stops
            ),
            (10, false, true)
        );
        assert_eq!(all.region.as_deref(), Some("eu-west-1"));
    }

    #[test]
    fn an_alarm_and_a_missing_one_stop_and_too_little_data_does_if_it_is_to() {
        let alarm = |name: &str, state| Alarm {
            name: name.to_owned(),
            state,
            reason: "5 of 5 over 1".to_owned(),
        };
        let all = [
            alarm("a", AlarmState::Ok),
            alarm("b", AlarmState::Alarm),
            alarm("c", AlarmState::InsufficientData),
        ];
        let mut guard = guard(json!({"alarms": ["a", "b", "c", "d"]}))
            .unwrap()
            .unwrap();
        let said = |guard: &AlarmGuard| -> Vec<String> {
            alarmed(guard, &all)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(
            said(&guard),
            [
                "alarm `b` is in ALARM: 5 of 5 over 1",
                "alarm `d` not found"
            ]
        );
        guard.missing_stops = false;
        guard.insufficient_data_stops = true;
        assert_eq!(
            said(&guard),
            [
                "alarm `b` is in ALARM: 5 of 5 over 1",
                "alarm `c` has too little data"
            ]
        );
    }
}
