//! How many instances a server group has: bounds, pins, and the arithmetic of every resize.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::context::{self, ContextError};

/// The bounds and the desired size of a server group, in instances.
///
/// `min <= desired <= max` holds for every value of this type: it can be made by [`Capacity::new`] only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct Capacity {
    min: u32,
    desired: u32,
    max: u32,
}

impl Capacity {
    /// Makes a capacity.
    ///
    /// # Errors
    /// Fails with [`CapacityError::Impossible`] unless `min <= desired <= max`.
    pub fn new(min: u32, desired: u32, max: u32) -> Result<Self, CapacityError> {
        Sizes {
            min: min.into(),
            desired: desired.into(),
            max: max.into(),
        }
        .try_into()
    }

    /// A group of exactly `size` instances.
    #[must_use]
    pub const fn fixed(size: u32) -> Self {
        Self {
            min: size,
            desired: size,
            max: size,
        }
    }

    /// Reads Spinnaker's JSON, `{"min": 1, "desired": 2, "max": 3}`; numbers may be texts.
    ///
    /// # Errors
    /// Fails when a number is missing or unreadable, or when they are impossible together.
    pub fn from_value(value: &Value) -> Result<Self, CapacityError> {
        let partial = PartialCapacity::from_value(value)?;
        let all = |size: Option<i64>, key| size.ok_or(CapacityError::Missing(key));
        Sizes {
            min: all(partial.min, "min")?,
            desired: all(partial.desired, "desired")?,
            max: all(partial.max, "max")?,
        }
        .try_into()
    }

    /// The size the group never falls below.
    #[must_use]
    pub const fn min(self) -> u32 {
        self.min
    }

    /// The size the group has or is on its way to.
    #[must_use]
    pub const fn desired(self) -> u32 {
        self.desired
    }

    /// The size the group never grows over.
    #[must_use]
    pub const fn max(self) -> u32 {
        self.max
    }

    /// Whether the size is fixed: min, desired and max are the same.
    #[must_use]
    pub const fn is_pinned(self) -> bool {
        self.min == self.desired && self.desired == self.max
    }

    /// Raises the minimum to the desired size, so that no scaling policy can shrink the group.
    #[must_use]
    pub const fn pin_minimum(self) -> Self {
        Self {
            min: self.desired,
            ..self
        }
    }

    /// Fixes the size at the desired one.
    #[must_use]
    pub const fn pin(self) -> Self {
        Self::fixed(self.desired)
    }

    /// Gives the minimum back that the group had before it was pinned; it is never raised.
    #[must_use]
    pub const fn unpin_minimum(self, original_min: u32) -> Self {
        if original_min > self.min {
            self
        } else {
            Self {
                min: original_min,
                ..self
            }
        }
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.min, self.desired, self.max)
    }
}

impl TryFrom<Value> for Capacity {
    type Error = CapacityError;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        Self::from_value(&value)
    }
}

/// Three sizes that arithmetic made and nobody has checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    min: i64,
    desired: i64,
    max: i64,
}

impl From<Capacity> for Sizes {
    fn from(capacity: Capacity) -> Self {
        Self {
            min: capacity.min.into(),
            desired: capacity.desired.into(),
            max: capacity.max.into(),
        }
    }
}

impl TryFrom<Sizes> for Capacity {
    type Error = CapacityError;

    fn try_from(Sizes { min, desired, max }: Sizes) -> Result<Self, CapacityError> {
        let impossible = CapacityError::Impossible { min, desired, max };
        match (
            u32::try_from(min),
            u32::try_from(desired),
            u32::try_from(max),
        ) {
            (Ok(min), Ok(desired), Ok(max)) if min <= desired && desired <= max => {
                Ok(Self { min, desired, max })
            }
            _ => Err(impossible),
        }
    }
}

/// A capacity as a pipeline configures it: what is not said is kept as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartialCapacity {
    /// The configured minimum.
    pub min: Option<i64>,
    /// The configured desired size.
    pub desired: Option<i64>,
    /// The configured maximum.
    pub max: Option<i64>,
}

impl PartialCapacity {
    /// Reads `{"min", "desired", "max"}`, each of them optional and possibly a text.
    ///
    /// # Errors
    /// Fails when the value is no object or a size is no whole number.
    pub fn from_value(value: &Value) -> Result<Self, CapacityError> {
        let object = value.as_object().ok_or(CapacityError::NotAnObject)?;
        Ok(Self {
            min: context::integer(object, "min")?,
            desired: context::integer(object, "desired")?,
            max: context::integer(object, "max")?,
        })
    }

    /// Fills what is not configured from what the group has now.
    ///
    /// A configured maximum lowers the minimum; a desired size that is not configured is moved between the
    /// bounds. A desired size that *is* configured stays, so the result may be impossible.
    fn merged_with(self, current: Capacity) -> Sizes {
        let current = Sizes::from(current);
        let mut min = self.min.unwrap_or(current.min);
        let max = match self.max {
            Some(max) => {
                min = min.min(max);
                max
            }
            None => current.max.max(min),
        };
        let desired = self
            .desired
            .unwrap_or_else(|| current.desired.max(min).min(max));
        Sizes { min, desired, max }
    }
}

/// Which arithmetic a resize does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeAction {
    /// The configured capacity, completed with the current one.
    ScaleExact,
    /// More, relative to the current capacity.
    ScaleUp,
    /// Less, relative to the current capacity.
    ScaleDown,
    /// As large as the largest group of the cluster, and a step more.
    ScaleToCluster,
    /// A share of another server group's capacity.
    ScaleToServerGroup,
}

impl ResizeAction {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "scale_exact" => Self::ScaleExact,
            "scale_up" => Self::ScaleUp,
            "scale_down" => Self::ScaleDown,
            "scale_to_cluster" => Self::ScaleToCluster,
            "scale_to_server_group" => Self::ScaleToServerGroup,
            _ => return None,
        })
    }
}

/// What a `resizeServerGroup` or `pinServerGroup` stage asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Which arithmetic.
    pub action: ResizeAction,
    /// Whether `action` itself says "up"; the original ignores what `resizeType` made of it here.
    up: bool,
    /// Percent. For the relative actions 0 is "not set"; for the others it is "desired 0".
    pub scale_pct: Option<i64>,
    /// Instances, for the relative actions; 0 is "not set".
    pub scale_num: Option<i64>,
    /// The configured capacity; required by [`ResizeAction::ScaleExact`].
    pub capacity: Option<PartialCapacity>,
    /// Fix the result at its desired size.
    pub pin_capacity: bool,
    /// Raise the minimum of the result to its desired size.
    pub pin_minimum_capacity: bool,
    /// Give the minimum back that was there before a pin.
    pub unpin_minimum_capacity: bool,
    /// That minimum: of the source's capacity before the pin, else of the saved one.
    pub original_min: Option<i64>,
}

impl Resize {
    /// Reads the context of a `resizeServerGroup` or `pinServerGroup` stage.
    ///
    /// # Errors
    /// Fails for an action nobody knows and for values of the wrong kind.
    pub fn from_context(context: &Map<String, Value>) -> Result<Self, CapacityError> {
        let named = match context::filled_text(context, "action") {
            Some(name) => {
                Some(ResizeAction::from_name(&name).ok_or(CapacityError::UnknownAction(name))?)
            }
            None => None,
        };
        let exact = context::text(context, "resizeType").as_deref() == Some("exact");
        let source_name = context::object(context, "source")
            .and_then(|source| context::text(source, "serverGroupName"));
        let min_of = |key: &str| match context::object(context, key) {
            Some(capacity) => context::integer(capacity, "min"),
            None => Ok(None),
        };
        let before_pin = match source_name {
            Some(name) => min_of(&format!("originalCapacity.{name}"))?,
            None => None,
        };
        Ok(Self {
            action: match named {
                Some(action) if !exact => action,
                _ => ResizeAction::ScaleExact,
            },
            up: named == Some(ResizeAction::ScaleUp),
            scale_pct: context::integer(context, "scalePct")?,
            scale_num: context::integer(context, "scaleNum")?,
            capacity: match context.get("capacity") {
                None | Some(Value::Null) => None,
                Some(capacity) => Some(PartialCapacity::from_value(capacity)?),
            },
            pin_capacity: context::flag(context, "pinCapacity")?.unwrap_or(false),
            pin_minimum_capacity: context::flag(context, "pinMinimumCapacity")?.unwrap_or(false),
            unpin_minimum_capacity: context::flag(context, "unpinMinimumCapacity")?
                .unwrap_or(false),
            original_min: match before_pin {
                Some(min) => Some(min),
                None => min_of("savedCapacity")?,
            },
        })
    }
}

/// What a resize is measured against.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResizeBasis<'a> {
    /// The capacity of the group that is resized.
    pub current: Capacity,
    /// The capacity of the source server group, for [`ResizeAction::ScaleToServerGroup`].
    pub source: Option<Capacity>,
    /// The capacities of all groups of the cluster in this region, for [`ResizeAction::ScaleToCluster`].
    pub cluster: &'a [Capacity],
}

/// The answer to a resize: the capacity to set, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resized {
    /// The capacity it was computed from, to be remembered for the way back; none for a cluster's.
    pub original: Option<Capacity>,
    /// The capacity to set.
    pub target: Capacity,
    /// Which arithmetic made it.
    pub action: ResizeAction,
}

impl fmt::Display for Resized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.action, self.original) {
            (ResizeAction::ScaleToServerGroup, Some(source)) => {
                write!(f, "{} from the source's {source}", self.target)
            }
            (_, Some(original)) => write!(f, "{} from {original}", self.target),
            (_, None) => write!(f, "{} from the cluster's largest", self.target),
        }
    }
}

/// `ceil(size * percent / 100)`.
///
/// In floating point, because the original does it so and the rounding shows: 7 % of 100 is
/// 7.000000000000001 there, and 8 instances.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn share(size: i64, percent: i64) -> i64 {
    (size as f64 * (percent as f64 / 100.0)).ceil() as i64
}

/// Computes the capacity that a resize sets.
///
/// | action | result |
/// |---|---|
/// | `scale_exact` | the configured capacity completed with the current one, then `scalePct` of its desired size, then pins |
/// | `scale_up`, `scale_down` | each of min, desired and max plus or minus `ceil(x * scalePct)` or `scaleNum`, never below 0; pins are ignored |
/// | `scale_to_cluster` | the largest min, desired and max of the cluster, desired plus `ceil(desired * scalePct)` or `scaleNum` but not over max; pins are ignored |
/// | `scale_to_server_group` | the source's capacity with `scalePct` of its desired size, then pins |
///
/// Example: 50 % of a source at 2/5/9 is desired `ceil(2.5) = 3`, so 2/3/9; with `pinMinimumCapacity` 3/3/9.
///
/// # Errors
/// An impossible result (desired 12 with max 9, desired -1) is refused here, before any call is made. The original
/// sends it and lets AWS refuse it.
pub fn resized_capacity(resize: &Resize, basis: ResizeBasis<'_>) -> Result<Resized, CapacityError> {
    let (original, target) = match resize.action {
        ResizeAction::ScaleExact => {
            let configured = resize.capacity.ok_or(CapacityError::NotConfigured)?;
            let merged = configured.merged_with(basis.current);
            (Some(basis.current), scaled_and_pinned(resize, merged)?)
        }
        ResizeAction::ScaleToServerGroup => {
            let source = basis.source.ok_or(CapacityError::NoSource)?;
            (Some(source), scaled_and_pinned(resize, source.into())?)
        }
        ResizeAction::ScaleUp | ResizeAction::ScaleDown => {
            (Some(basis.current), relative(resize, basis.current)?)
        }
        ResizeAction::ScaleToCluster => (None, largest(resize, basis.cluster)?),
    };
    Ok(Resized {
        original,
        target,
        action: resize.action,
    })
}

fn scaled_and_pinned(resize: &Resize, from: Sizes) -> Result<Capacity, CapacityError> {
    let mut sizes = from;
    if let Some(percent) = resize.scale_pct {
        let desired = share(sizes.desired, percent);
        sizes = Sizes {
            min: sizes.min.min(desired),
            desired,
            max: sizes.max.max(desired),
        };
    }
    if resize.unpin_minimum_capacity
        && let Some(original) = resize.original_min
        && original <= sizes.min
    {
        sizes.min = original;
    }
    if resize.pin_capacity {
        sizes = Sizes {
            min: sizes.desired,
            desired: sizes.desired,
            max: sizes.desired,
        };
    } else if resize.pin_minimum_capacity {
        sizes.min = sizes.desired;
    }
    sizes.try_into()
}

fn relative(resize: &Resize, current: Capacity) -> Result<Capacity, CapacityError> {
    let sign = if resize.up { 1 } else { -1 };
    let step = |size: i64| match (resize.scale_pct.unwrap_or(0), resize.scale_num.unwrap_or(0)) {
        (0, 0) => size,
        (0, number) => size.saturating_add(number.saturating_mul(sign)).max(0),
        (percent, _) => size
            .saturating_add(share(size, percent).saturating_mul(sign))
            .max(0),
    };
    let Sizes { min, desired, max } = current.into();
    Sizes {
        min: step(min),
        desired: step(desired),
        max: step(max),
    }
    .try_into()
}

fn largest(resize: &Resize, cluster: &[Capacity]) -> Result<Capacity, CapacityError> {
    if cluster.is_empty() {
        return Err(CapacityError::EmptyCluster);
    }
    let of =
        |size: fn(Capacity) -> u32| cluster.iter().copied().map(size).max().map_or(0, i64::from);
    let (min, desired, max) = (of(Capacity::min), of(Capacity::desired), of(Capacity::max));
    let step = match (resize.scale_pct.unwrap_or(0), resize.scale_num.unwrap_or(0)) {
        (0, number) => number.saturating_abs(),
        (percent, _) => share(desired, percent.saturating_abs()),
    };
    Sizes {
        min,
        desired: desired.max(min).saturating_add(step).min(max),
        max,
    }
    .try_into()
}

/// Why a capacity cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapacityError {
    /// The three sizes contradict each other, or one is negative.
    #[error("impossible capacity: min {min}, desired {desired}, max {max}")]
    Impossible {
        /// The minimum.
        min: i64,
        /// The desired size.
        desired: i64,
        /// The maximum.
        max: i64,
    },
    /// A capacity is not an object.
    #[error("a capacity is an object with `min`, `desired` and `max`")]
    NotAnObject,
    /// A size is missing.
    #[error("the capacity has no `{0}`")]
    Missing(&'static str),
    /// A value has the wrong kind.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The action of a resize is none of the five.
    #[error(
        "unknown resize action `{0}`, expected scale_exact, scale_up, scale_down, scale_to_cluster or scale_to_server_group"
    )]
    UnknownAction(String),
    /// `scale_exact` without a capacity.
    #[error("scale_exact needs a `capacity`")]
    NotConfigured,
    /// `scale_to_server_group` without a source.
    #[error("scale_to_server_group needs a `source` server group")]
    NoSource,
    /// `scale_to_cluster` in a cluster without groups.
    #[error("the cluster has no server group in this region")]
    EmptyCluster,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn capacity(min: u32, desired: u32, max: u32) -> Capacity {
        Capacity::new(min, desired, max).unwrap()
    }

    fn resize(context: Value) -> Resize {
        Resize::from_context(context.as_object().unwrap()).unwrap()
    }

    fn resized(context: Value, current: Capacity) -> Result<Capacity, CapacityError> {
        resized_capacity(
            &resize(context),
            ResizeBasis {
                current,
                source: Some(current),
                cluster: &[current],
            },
        )
        .map(|resized| resized.target)
    }

    #[test]
    fn refuses_bounds_that_contradict_each_other() {
        assert!(Capacity::new(2, 1, 3).is_err());
        assert!(Capacity::new(0, 4, 3).is_err());
        assert!(
            serde_json::from_value::<Capacity>(json!({"min": 3, "desired": 1, "max": 3})).is_err()
        );
        assert_eq!(
            serde_json::from_value::<Capacity>(json!({"min": "1", "desired": 2, "max": "3"}))
                .unwrap(),
            capacity(1, 2, 3)
        );
    }

    #[test]
    fn pins_to_the_desired_size_and_gives_the_minimum_back() {
        assert_eq!(capacity(1, 4, 7).pin_minimum(), capacity(4, 4, 7));
        assert_eq!(capacity(1, 4, 7).pin(), Capacity::fixed(4));
        assert_eq!(capacity(4, 4, 7).unpin_minimum(1), capacity(1, 4, 7));
        assert_eq!(capacity(1, 4, 7).unpin_minimum(3), capacity(1, 4, 7));
    }

    #[test]
    fn refuses_an_exact_capacity_that_aws_would_refuse() {
        let twelve_of_nine =
            json!({"action": "scale_exact", "capacity": {"desired": 12, "max": 9}});
        let error = resized(twelve_of_nine, capacity(2, 2, 2)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "impossible capacity: min 2, desired 12, max 9"
        );
    }

    #[test]
    fn zero_percent_is_nothing_for_relative_actions_and_an_empty_group_for_exact_ones() {
        let current = capacity(1, 2, 3);
        assert_eq!(
            resized(json!({"action": "scale_up", "scalePct": 0}), current),
            Ok(current)
        );
        assert_eq!(
            resized(
                json!({"action": "scale_to_server_group", "scalePct": 0, "source": {}}),
                current
            ),
            Ok(capacity(0, 0, 3))
        );
    }

    #[test]
    fn rounds_a_share_as_the_original_does() {
        assert_eq!(share(100, 7), 8);
        assert_eq!(share(5, 50), 3);
        assert_eq!(share(3, 0), 0);
    }
}
