//! Metric pairs as files give them, read without building a tree: a point costs the eight bytes of its value.

use std::io::{BufReader, Read};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde_json::{Map, Value};

use crate::config::{coerced_double, coerced_text};
use crate::error::JudgeError;
use crate::judge::Mode;
use crate::lenient::{Lenient, Lent};

/// Points of one series that are read: 80 MB. A second's points of 115 days.
pub const MAX_POINTS: usize = 10_000_000;
/// Points of all series of one file: both sides of the longest pair.
pub const MAX_POINTS_IN_ALL: usize = 2 * MAX_POINTS;

/// Baseline and canary of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricPair {
    /// The metric's name in the configuration.
    pub name: String,
    /// An id that the result repeats.
    pub id: Option<String>,
    /// Tags that the result repeats, an object.
    pub tags: Option<Value>,
    /// Values of the baseline (`control`) in time order, NaN where a point is missing.
    pub baseline: Vec<f64>,
    /// Values of the canary (`experiment`), likewise; the lengths may differ.
    pub canary: Vec<f64>,
}

/// Metric pairs as somebody wrote them: `[…]` or `{"pairs":[…]}` of `{"name","id","tags","values":{"control":[…],
/// "experiment":[…]}}`. Reading takes any JSON; what is wrong with it is told by [`MetricPairs::checked`].
#[derive(Debug, Default)]
pub struct MetricPairs {
    /// None where there should be a list and is none.
    list: Option<Vec<Pair>>,
    /// Whether they stood under `pairs`.
    named: bool,
}

impl MetricPairs {
    /// Reads them from a value.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        // Any JSON is read, so there is no error.
        Self::deserialize(value).unwrap_or_default()
    }

    /// Reads them from a text as it comes, which never stands in memory.
    ///
    /// # Errors
    /// The text is not JSON, or cannot be read.
    pub fn read(text: &mut dyn Read) -> serde_json::Result<Self> {
        serde_json::from_reader(BufReader::new(text))
    }

    /// The pairs, if all of them are right. A missing point is `"NaN"` or null; compatible with the original null is 0.0.
    ///
    /// # Errors
    /// [`JudgeError::Pairs`] with the path of the first name or series that is missing, point that is no number, or
    /// series beyond [`MAX_POINTS`] or [`MAX_POINTS_IN_ALL`].
    pub fn checked(self, mode: Mode) -> Result<Vec<MetricPair>, JudgeError> {
        let path = if self.named { "$.pairs" } else { "$" };
        let list = self
            .list
            .ok_or_else(|| refuse(path.to_owned(), "must be a list of metric pairs"))?;
        let mut room = MAX_POINTS_IN_ALL;
        list.into_iter()
            .enumerate()
            .map(|(index, pair)| {
                let path = format!("{path}[{index}]");
                let points = pair.points();
                let pair = pair.checked(&path, mode)?;
                room = room.checked_sub(points).ok_or_else(|| {
                    let reason = format!("more than {MAX_POINTS_IN_ALL} points up to here");
                    refuse(format!("{path}.values"), reason)
                })?;
                Ok(pair)
            })
            .collect()
    }
}

fn refuse(path: String, reason: impl Into<String>) -> JudgeError {
    JudgeError::Pairs {
        path,
        reason: reason.into(),
    }
}

impl<'de> Deserialize<'de> for MetricPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Lent::deserialize(deserializer).map(|read| read.0)
    }
}

impl Lenient for MetricPairs {
    fn scalar(_: Value) -> Self {
        Self::default()
    }

    fn list<'de, A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        Ok(Self {
            list: Some(Vec::list(list)?),
            named: false,
        })
    }

    fn object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut pairs = Self::default();
        while let Some(key) = map.next_key::<String>()? {
            if key == "pairs" {
                let list: Lent<Option<Vec<Pair>>> = map.next_value()?;
                (pairs.list, pairs.named) = (list.0, true);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(pairs)
    }
}

impl Lenient for Vec<Pair> {
    fn scalar(_: Value) -> Self {
        Self::new()
    }

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let (mut pairs, mut points) = (Self::new(), 0_usize);
        while points <= MAX_POINTS_IN_ALL {
            let Some(Lent(pair)) = list.next_element::<Lent<Pair>>()? else {
                return Ok(pairs);
            };
            points = points.saturating_add(pair.points());
            pairs.push(pair);
        }
        // The last one says that there are too many.
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(pairs)
    }
}

/// One pair, as far as it is one.
#[derive(Debug, Default)]
struct Pair {
    name: Option<Value>,
    id: Option<Value>,
    tags: Option<Tags>,
    values: Values,
}

impl Pair {
    fn points(&self) -> usize {
        let count = |series: &Option<Series>| series.as_ref().map_or(0, |series| series.count);
        count(&self.values.control).saturating_add(count(&self.values.experiment))
    }

    fn checked(self, path: &str, mode: Mode) -> Result<MetricPair, JudgeError> {
        let name = self.name.as_ref().and_then(coerced_text);
        let name = name.ok_or_else(|| {
            refuse(
                format!("{path}.name"),
                "a pair needs the name of its metric",
            )
        })?;
        let id = match self.id.filter(|id| !id.is_null()) {
            None => None,
            Some(id) => Some(
                coerced_text(&id)
                    .ok_or_else(|| refuse(format!("{path}.id"), "must be a string"))?,
            ),
        };
        let tags = match self.tags {
            None | Some(Tags::Null) => None,
            Some(Tags::Object(tags)) => Some(Value::Object(tags)),
            Some(Tags::Other) => {
                return Err(refuse(format!("{path}.tags"), "must be an object"));
            }
        };
        let series = |key: &str, series: Option<Series>| {
            let path = format!("{path}.values.{key}");
            match series {
                Some(series) => series.checked(&name, &path, mode),
                None => Err(refuse(
                    path,
                    format!("metric `{name}` needs a list of values"),
                )),
            }
        };
        let baseline = series("control", self.values.control)?;
        let canary = series("experiment", self.values.experiment)?;
        Ok(MetricPair {
            baseline,
            canary,
            name,
            id,
            tags,
        })
    }
}

/// One series: its points, and what is no point.
#[derive(Debug, Default)]
struct Series {
    values: Vec<f64>,
    /// Where null stands for a missing point: NaN in `values`.
    nulls: Vec<usize>,
    /// The first point that is none, and why.
    wrong: Option<(usize, String)>,
    /// Points in the list; those beyond the limit are not kept.
    count: usize,
}

impl Series {
    fn add(&mut self, point: &Value) {
        let index = self.count;
        self.count += 1;
        if index >= MAX_POINTS || self.wrong.is_some() {
            return;
        }
        match coerced_double(point) {
            Ok(Some(value)) => self.values.push(value),
            Ok(None) => {
                self.nulls.push(index);
                self.values.push(f64::NAN);
            }
            Err(reason) => self.wrong = Some((index, reason)),
        }
    }

    fn checked(mut self, metric: &str, path: &str, mode: Mode) -> Result<Vec<f64>, JudgeError> {
        if let Some((index, reason)) = self.wrong {
            return Err(refuse(
                format!("{path}[{index}]"),
                format!("metric `{metric}`: {reason}"),
            ));
        }
        if self.count > MAX_POINTS {
            return Err(refuse(
                path.to_owned(),
                format!(
                    "metric `{metric}` has {} points; {MAX_POINTS} are read: take a longer step",
                    self.count
                ),
            ));
        }
        if matches!(mode, Mode::KayentaCompatible { .. }) {
            for index in self.nulls {
                if let Some(value) = self.values.get_mut(index) {
                    *value = 0.0;
                }
            }
        }
        Ok(self.values)
    }
}

impl Lenient for Pair {
    fn scalar(_: Value) -> Self {
        Self::default()
    }

    fn object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut pair = Self::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => pair.name = Some(map.next_value::<Lent<Value>>()?.0),
                "id" => pair.id = Some(map.next_value::<Lent<Value>>()?.0),
                "tags" => pair.tags = Some(map.next_value::<Lent<Tags>>()?.0),
                "values" => pair.values = map.next_value::<Lent<Values>>()?.0,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(pair)
    }
}

/// The two sides; none where there should be a list and is none.
#[derive(Debug, Default)]
struct Values {
    control: Option<Series>,
    experiment: Option<Series>,
}

impl Lenient for Values {
    fn scalar(_: Value) -> Self {
        Self::default()
    }

    fn object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut values = Self::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "control" => values.control = map.next_value::<Lent<Option<Series>>>()?.0,
                "experiment" => values.experiment = map.next_value::<Lent<Option<Series>>>()?.0,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(values)
    }
}

impl Lenient for Series {
    fn scalar(_: Value) -> Self {
        Self::default()
    }

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut series = Self::default();
        while let Some(Lent(point)) = list.next_element::<Lent<Value>>()? {
            series.add(&point);
        }
        Ok(series)
    }
}

/// A list that may be something else instead.
impl<T: Lenient> Lenient for Option<T> {
    fn scalar(_: Value) -> Self {
        None
    }

    fn list<'de, A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        T::list(list).map(Some)
    }
}

/// Tags: texts by name.
#[derive(Debug)]
enum Tags {
    Null,
    Object(Map<String, Value>),
    Other,
}

impl Lenient for Tags {
    fn scalar(value: Value) -> Self {
        if value.is_null() {
            Self::Null
        } else {
            Self::Other
        }
    }

    fn object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut tags = Map::new();
        while let Some((name, Lent(tag))) = map.next_entry::<String, Lent<Value>>()? {
            tags.insert(name, coerced_text(&tag).map_or(Value::Null, Value::from));
        }
        Ok(Self::Object(tags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Vec<MetricPair>, String> {
        let pairs: MetricPairs = serde_json::from_str(text).unwrap();
        let compatible = Mode::KayentaCompatible { seed: 0 };
        let of_text = pairs.checked(compatible).map_err(|error| error.to_string());
        let value: Value = serde_json::from_str(text).unwrap();
        let of_value = MetricPairs::of(&value).checked(compatible);
        let of_value = of_value.map_err(|error| error.to_string());
        // As text: a missing point is not equal to itself.
        assert_eq!(format!("{of_text:?}"), format!("{of_value:?}"));
        of_text
    }

    #[test]
    fn a_pair_is_read_whatever_else_the_file_holds_and_in_whatever_order() {
        let pair = r#"{"attributes":{"a":[1,{}]},"values":{"experiment":[1,null,"NaN","2.5",true],"control":[]},"tags":{"n":1,"l":[1]},"id":7,"name":"m"}"#;
        let told = read(&format!("[{pair}]")).unwrap_err();
        assert_eq!(
            told,
            "`$[0].values.experiment[4]`: metric `m`: must be a number, is `true`"
        );
        let pair = pair.replace(",true]", "]");
        let found = read(&format!(r#"{{"x":[{pair}],"pairs":[{pair}]}}"#)).unwrap();
        assert_eq!(
            format!("{:?} {:?}", found[0].canary, found[0].baseline),
            "[1.0, 0.0, NaN, 2.5] []"
        );
        assert_eq!(found[0].tags, Some(json!({ "n": "1", "l": null })));
        assert_eq!(found[0].id.as_deref(), Some("7"));
    }

    #[test]
    fn what_is_no_pair_is_told_with_its_path() {
        for (text, told) in [
            ("{}", "`$`: must be a list of metric pairs"),
            (
                r#"{"pairs":{}}"#,
                "`$.pairs`: must be a list of metric pairs",
            ),
            ("7", "`$`: must be a list of metric pairs"),
            ("[1]", "`$[0].name`: a pair needs the name of its metric"),
            (r#"[{"name":"m","id":[]}]"#, "`$[0].id`: must be a string"),
            (
                r#"[{"name":"m","tags":[1]}]"#,
                "`$[0].tags`: must be an object",
            ),
            (
                r#"[{"name":"m","values":{"control":[[1]],"experiment":[]}}]"#,
                "`$[0].values.control[0]`: metric `m`: must be a number, is a list",
            ),
            (
                r#"[{"name":"m","values":{"control":[],"experiment":5}}]"#,
                "`$[0].values.experiment`: metric `m` needs a list of values",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), told, "{text}");
        }
    }

    #[test]
    fn more_points_than_are_read_are_counted_and_not_kept() {
        let mut series = Series::default();
        series.values = vec![1.0; MAX_POINTS];
        series.count = MAX_POINTS;
        series.add(&json!(2));
        series.add(&json!("x"));
        assert_eq!(series.values.len(), MAX_POINTS);
        let told = series.checked("m", "$[0].values.control", Mode::Default);
        assert!(told.unwrap_err().to_string().contains("10000002 points"));
    }

    #[test]
    fn more_points_than_are_read_in_all_are_refused_at_the_pair_that_has_them() {
        let pair = || Pair {
            name: Some(json!("m")),
            values: Values {
                control: Some(Series {
                    count: MAX_POINTS,
                    ..Series::default()
                }),
                experiment: Some(Series::default()),
            },
            ..Pair::default()
        };
        let pairs = MetricPairs {
            list: Some(vec![pair(), pair(), pair()]),
            named: true,
        };
        let told = pairs.checked(Mode::Default).unwrap_err().to_string();
        assert!(told.contains("$.pairs[2]"), "{told}");
    }
}
