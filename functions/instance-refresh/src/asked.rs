//! What a stage asks for, read and checked before the first call.

use gennaker_cloud::ec2::ImageRef;
use gennaker_cloud::instance_refresh::RefreshPreferences;
use gennaker_lambda::StageError;
use serde_json::{Map, Value};

/// Two days: as long as Auto Scaling bakes and pauses.
const MOST_SECONDS: i64 = 172_800;
/// As many alarms as a refresh takes.
const MOST_ALARMS: usize = 10;

/// What a stage asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The image to launch; none replaces every instance by one of the same configuration.
    pub image: Option<ImageRef>,
    /// How.
    pub preferences: RefreshPreferences,
}

fn integer(
    context: &Map<String, Value>,
    key: &str,
    least: i64,
    most: i64,
) -> Result<Option<i32>, StageError> {
    let value = match context.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(value) => value,
    };
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_i64(),
    };
    number
        .filter(|number| (least..=most).contains(number))
        .and_then(|number| i32::try_from(number).ok())
        .map(Some)
        .ok_or_else(|| {
            StageError::invalid(
                key,
                format!("{value} is not a whole number from {least} to {most}"),
            )
        })
}

fn flag(context: &Map<String, Value>, key: &str, default: bool) -> Result<bool, StageError> {
    match context.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(StageError::invalid(
            key,
            format!("{other} is neither true nor false"),
        )),
    }
}

/// One of these words, in any case; the first is the default.
fn word(context: &Map<String, Value>, key: &str, known: &[&str]) -> Result<String, StageError> {
    let given = context.get(key).and_then(Value::as_str).unwrap_or("");
    if given.is_empty() {
        return Ok(known.first().copied().unwrap_or_default().to_owned());
    }
    known
        .iter()
        .find(|word| word.eq_ignore_ascii_case(given))
        .map(|word| (*word).to_owned())
        .ok_or_else(|| {
            StageError::invalid(key, format!("`{given}` is none of {}", known.join(", ")))
        })
}

fn checkpoints(context: &Map<String, Value>) -> Result<Vec<i32>, StageError> {
    const KEY: &str = "checkpointPercentages";
    let listed = match context.get(KEY) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(listed)) => listed,
        Some(other) => {
            return Err(StageError::invalid(KEY, format!("{other} is not a list")));
        }
    };
    let percentages: Vec<i32> = listed
        .iter()
        .filter_map(Value::as_i64)
        .filter_map(|percent| i32::try_from(percent).ok())
        .filter(|percent| (1..=100).contains(percent))
        .collect();
    let ascends = percentages.windows(2).all(|two| two.first() < two.last());
    let is_whole = percentages.is_empty() || percentages.last() == Some(&100);
    if percentages.len() == listed.len() && ascends && is_whole {
        return Ok(percentages);
    }
    Err(StageError::invalid(
        KEY,
        format!(
            "{} are not ascending whole percents that end with 100",
            Value::from(listed.clone())
        ),
    ))
}

fn alarms(context: &Map<String, Value>) -> Result<Vec<String>, StageError> {
    let listed = context.get("alarms").and_then(Value::as_array);
    let names: Vec<String> = listed
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    if names.len() > MOST_ALARMS {
        return Err(StageError::invalid(
            "alarms",
            format!("{} alarms, {MOST_ALARMS} at most", names.len()),
        ));
    }
    Ok(names)
}

impl Asked {
    /// Reads a stage's context.
    ///
    /// # Errors
    /// [`StageError::InvalidConfiguration`] naming the field, its value and what there is.
    pub fn of(context: &Map<String, Value>) -> Result<Self, StageError> {
        let text = |key: &str| {
            let text = context.get(key).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let image = text("imageId")
            .map(|id| ImageRef::Id(id.to_ascii_lowercase()))
            .or_else(|| text("amiName").map(ImageRef::Name));
        let least = integer(context, "minHealthyPercentage", 0, 100)?;
        let most = integer(context, "maxHealthyPercentage", 100, 200)?;
        if let (Some(least), Some(most)) = (least, most)
            && most - least > 100
        {
            return Err(StageError::invalid(
                "maxHealthyPercentage",
                format!("{most} is more than 100 above `minHealthyPercentage` {least}"),
            ));
        }
        let auto_rollback = flag(context, "autoRollback", true)?;
        Ok(Self {
            preferences: RefreshPreferences {
                min_healthy_percentage: least,
                max_healthy_percentage: most,
                warmup_seconds: integer(context, "instanceWarmup", 0, MOST_SECONDS)?,
                checkpoint_percentages: checkpoints(context)?,
                checkpoint_delay_seconds: integer(context, "checkpointDelay", 0, MOST_SECONDS)?,
                bake_seconds: integer(context, "bakeTime", 0, MOST_SECONDS)?,
                alarms: alarms(context)?,
                skip_matching: flag(context, "skipMatching", false)?,
                // Only what has a configuration of its own to go back from can go back.
                auto_rollback: auto_rollback && image.is_some(),
                // The API's own default is to wait, without an end.
                scale_in_protected: word(
                    context,
                    "scaleInProtectedInstances",
                    &["Ignore", "Refresh", "Wait"],
                )?,
                standby: word(
                    context,
                    "standbyInstances",
                    &["Ignore", "Terminate", "Wait"],
                )?,
            },
            image,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(value: Value) -> Result<Asked, StageError> {
        Asked::of(value.as_object().unwrap())
    }

    #[test]
    fn what_is_not_said_is_auto_scalings_and_never_waits_without_end() {
        let asked = asked(json!({})).unwrap();
        assert_eq!(asked.image, None);
        let preferences = asked.preferences;
        assert_eq!(preferences.min_healthy_percentage, None);
        assert_eq!(preferences.scale_in_protected, "Ignore");
        assert!(!preferences.auto_rollback, "nothing to go back to");
    }

    #[test]
    fn every_wrong_value_is_named_with_what_there_is() {
        for (wrong, word) in [
            (json!({"minHealthyPercentage": 101}), "from 0 to 100"),
            (
                json!({"minHealthyPercentage": 50, "maxHealthyPercentage": 151}),
                "151",
            ),
            (json!({"checkpointPercentages": [20, 10, 100]}), "ascending"),
            (json!({"checkpointPercentages": [20]}), "100"),
            (json!({"bakeTime": 172_801}), "172800"),
            (json!({"standbyInstances": "Refresh"}), "Terminate"),
            (json!({"skipMatching": "yes"}), "neither"),
            (
                json!({"alarms": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]}),
                "at most",
            ),
        ] {
            let said = asked(wrong).unwrap_err().to_string();
            assert!(said.contains(word), "{said}");
        }
    }
}
