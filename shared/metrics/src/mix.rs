use std::collections::{BTreeMap, BTreeSet};

use crate::{MetricsError, Series};

/// Series of one metric that are looked at.
pub const MAX_SERIES: usize = 10_000;
/// Points of one metric that are looked at, both sides together.
pub const MAX_POINTS: usize = 10_000_000;
/// Points of one side's answer, missing ones counted: 40 MB.
pub const MAX_POINTS_OF_A_SIDE: usize = MAX_POINTS / 2;

/// The two sides of one series, which the judge compares.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// What distinguishes it from the metric's other pairs.
    pub tags: BTreeMap<String, String>,
    /// The baseline's values.
    pub control: Vec<f64>,
    /// The canary's values.
    pub experiment: Vec<f64>,
}

/// Pairs the series of one metric by their tags, as Kayenta's mixer does.
///
/// A side that has only a series without tags stands, empty, beside every series of the other side; tags that one side
/// lacks get an empty side too. An empty side has as many missing points as its time holds, a short one is filled with
/// missing points at its end. Pairs come in order of their tags.
///
/// # Errors
/// [`MetricsError::Mix`]: sides whose tags have different keys, a side with several series of the same tags, or more
/// than [`MAX_SERIES`] or [`MAX_POINTS`].
pub fn mix(control: &[Series], experiment: &[Series]) -> Result<Vec<Pair>, MetricsError> {
    let (Some(control_first), Some(experiment_first)) = (control.first(), experiment.first())
    else {
        return Err(MetricsError::Mix("a side has no series at all".to_owned()));
    };
    if control.len().max(experiment.len()) > MAX_SERIES {
        return Err(MetricsError::Mix(format!(
            "more than {MAX_SERIES} series; the query has to aggregate"
        )));
    }
    let points: usize = control
        .iter()
        .chain(experiment)
        .map(|series| series.values.len().max(series.expected_points()))
        .fold(0, usize::saturating_add);
    points_are_not_too_many(points)?;
    let by_tags = |side: &str, list: &'_ [Series]| {
        let mut found: BTreeMap<BTreeMap<String, String>, usize> = BTreeMap::new();
        for (index, series) in list.iter().enumerate() {
            if found.insert(series.tags.clone(), index).is_some() {
                return Err(MetricsError::Mix(format!(
                    "the {side} has several series with the tags {:?}; the query has to aggregate them",
                    series.tags
                )));
            }
        }
        Ok(found)
    };
    let controls = by_tags("baseline", control)?;
    let experiments = by_tags("canary", experiment)?;
    let keys = |side: &BTreeMap<BTreeMap<String, String>, usize>| -> BTreeSet<String> {
        side.keys().flat_map(|tags| tags.keys().cloned()).collect()
    };
    let (control_keys, experiment_keys) = (keys(&controls), keys(&experiments));
    if !control_keys.is_empty() && !experiment_keys.is_empty() && control_keys != experiment_keys {
        return Err(MetricsError::Mix(format!(
            "the baseline's series have the tags {control_keys:?}, the canary's {experiment_keys:?}"
        )));
    }
    let untagged = BTreeMap::new();
    let control_untagged = controls.contains_key(&untagged);
    let experiment_untagged = experiments.contains_key(&untagged);
    let tags: BTreeSet<&BTreeMap<String, String>> = match (control_untagged, experiment_untagged) {
        (true, false) => experiments.keys().collect(),
        (false, true) => controls.keys().collect(),
        _ => controls.keys().chain(experiments.keys()).collect(),
    };
    // A side that has no such series gets one of missing points: ten thousand of them may be more than there is room for.
    let length = |list: &[Series], index: Option<&usize>, template: &Series| {
        let series = index.and_then(|index| list.get(*index));
        series.map_or(template.expected_points(), |series| {
            series.values.len().max(series.expected_points())
        })
    };
    let filled = tags
        .iter()
        .flat_map(|tags| {
            [
                length(control, controls.get(*tags), control_first),
                length(experiment, experiments.get(*tags), experiment_first),
            ]
        })
        .fold(0, usize::saturating_add);
    points_are_not_too_many(filled)?;
    let side = |list: &[Series], index: Option<&usize>, template: &Series| match index
        .and_then(|index| list.get(*index))
    {
        Some(series) => padded(series),
        None => vec![f64::NAN; template.expected_points()],
    };
    Ok(tags
        .into_iter()
        .map(|tags| Pair {
            tags: tags.clone(),
            control: side(control, controls.get(tags), control_first),
            experiment: side(experiment, experiments.get(tags), experiment_first),
        })
        .collect())
}

fn points_are_not_too_many(points: usize) -> Result<(), MetricsError> {
    if points > MAX_POINTS {
        return Err(MetricsError::Mix(format!(
            "more than {MAX_POINTS} points; take a longer step"
        )));
    }
    Ok(())
}

fn padded(series: &Series) -> Vec<f64> {
    let mut values = series.values.clone();
    if series.expected_points() > values.len() {
        values.resize(series.expected_points(), f64::NAN);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(tags: &[(&str, &str)], values: &[f64]) -> Series {
        Series {
            tags: tags
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            start: 0,
            end: 180_000,
            step_millis: 60_000,
            values: values.to_vec(),
        }
    }

    fn shown(pairs: &[Pair]) -> Vec<String> {
        pairs
            .iter()
            .map(|pair| {
                let tags: Vec<&str> = pair.tags.values().map(String::as_str).collect();
                format!(
                    "{} {:?} {:?}",
                    tags.join(","),
                    pair.control,
                    pair.experiment
                )
            })
            .collect()
    }

    #[test]
    fn series_meet_by_tags_and_a_missing_side_is_all_gaps() {
        let pairs = mix(
            &[
                series(&[("z", "a")], &[1.0, 2.0, 3.0]),
                series(&[("z", "b")], &[4.0]),
            ],
            &[
                series(&[("z", "b")], &[5.0, 6.0, 7.0, 8.0]),
                series(&[("z", "c")], &[9.0]),
            ],
        )
        .unwrap();
        assert_eq!(
            shown(&pairs),
            [
                "a [1.0, 2.0, 3.0] [NaN, NaN, NaN]",
                "b [4.0, NaN, NaN] [5.0, 6.0, 7.0, 8.0]",
                "c [NaN, NaN, NaN] [9.0, NaN, NaN]",
            ]
        );
    }

    #[test]
    fn more_points_than_anybody_judges_are_refused_before_they_are_copied() {
        let many = [series(&[], &vec![1.0; MAX_POINTS / 2 + 1])];
        let error = mix(&many, &many).unwrap_err().to_string();
        assert!(error.contains("take a longer step"), "{error}");
    }

    #[test]
    fn a_side_without_tags_is_only_a_shape_for_a_side_with_them() {
        let pairs = mix(
            &[series(&[], &[])],
            &[series(&[("z", "a")], &[1.0]), series(&[("z", "b")], &[2.0])],
        )
        .unwrap();
        assert_eq!(
            shown(&pairs),
            [
                "a [NaN, NaN, NaN] [1.0, NaN, NaN]",
                "b [NaN, NaN, NaN] [2.0, NaN, NaN]"
            ]
        );
        let pairs = mix(&[series(&[("z", "a")], &[1.0])], &[series(&[], &[5.0])]).unwrap();
        assert_eq!(shown(&pairs), ["a [1.0, NaN, NaN] [NaN, NaN, NaN]"]);
    }

    #[test]
    fn sides_that_do_not_fit_are_refused_with_the_reason() {
        let one = [series(&[("z", "a")], &[1.0])];
        let refused = |control: &[Series], experiment: &[Series]| {
            mix(control, experiment).unwrap_err().to_string()
        };
        assert!(refused(&one, &[series(&[("host", "a")], &[1.0])]).contains("host"));
        assert!(refused(&[one[0].clone(), one[0].clone()], &one).contains("aggregate"));
        assert!(refused(&[], &one).contains("no series"));
        // A hundred series whose other side would be a hundred times as many missing points as there are points.
        let long = [Series {
            end: 60_000 * 200_000,
            ..series(&[], &[1.0])
        }];
        let tagged: Vec<Series> = (0..100)
            .map(|host| series(&[("host", &host.to_string())], &[1.0]))
            .collect();
        assert!(refused(&long, &tagged).contains("longer step"));
        let endless = Series {
            end: i64::MAX,
            step_millis: 1,
            ..series(&[], &[])
        };
        assert!(refused(&[endless], &one).contains("longer step"));
    }
}
