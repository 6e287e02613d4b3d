//! Reading answers without building a tree of them: a point costs the eight bytes of its value.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::error::Category;

use super::Source;
use crate::{MAX_SERIES, MetricsError};

/// What a list is gathered into, element by element.
pub(super) trait Gather: Default {
    /// One element; it lives until it is added.
    type Element: DeserializeOwned;
    /// What the list is, for errors.
    const WHAT: &'static str;

    /// Adds the next element, or says what it is instead of one.
    fn add(&mut self, element: Self::Element) -> Result<(), String>;
}

/// A list that was read into a [`Gather`].
pub(super) struct Gathered<G>(pub(super) G);

impl<'de, G: Gather> serde::Deserialize<'de> for Gathered<G> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

struct Elements<G>(PhantomData<G>);

impl<'de, G: Gather> Visitor<'de> for Elements<G> {
    type Value = Gathered<G>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(G::WHAT)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut gathered = G::default();
        while let Some(element) = list.next_element()? {
            gathered.add(element).map_err(A::Error::custom)?;
        }
        Ok(Gathered(gathered))
    }
}

/// Says so when there are more series than anybody looks at: before the next one is read.
pub(super) fn series_are_not_too_many(count: usize) -> Result<(), String> {
    if count > MAX_SERIES {
        return Err(format!(
            "more than {MAX_SERIES} series; the query has to aggregate"
        ));
    }
    Ok(())
}

/// Keeps the first two times of a series, in milliseconds, and gives back this one.
pub(super) fn note_time(first: &mut Option<i64>, second: &mut Option<i64>, seconds: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation)] // A time of this era, in milliseconds.
    let millis = (seconds * 1_000.0) as i64;
    if first.is_none() {
        *first = Some(millis);
    } else if second.is_none() {
        *second = Some(millis);
    }
    millis
}

/// Reads an answer that is JSON.
pub(super) fn json<T: DeserializeOwned>(source: Source, body: &str) -> Result<T, MetricsError> {
    serde_json::from_str(body).map_err(|error| {
        let shown = beginning(body);
        let what = match error.classify() {
            Category::Data => format!("{error}: `{shown}`"),
            _ => format!("what is no JSON ({error}): `{shown}`"),
        };
        MetricsError::answer(source.as_str(), what)
    })
}

/// What is shown of an answer that nobody expected.
pub(super) fn beginning(body: &str) -> String {
    let shown: String = body
        .chars()
        .take(80)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if shown.len() < body.len() {
        format!("{shown}…")
    } else {
        shown
    }
}
