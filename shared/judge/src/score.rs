//! Group scores, the summary score and the verdict.

use crate::config::Thresholds;
use crate::hash_order;
use crate::judge::Mode;
use crate::judgement::{Classification, GroupScore, MetricResult, Score, Verdict};

/// From this share of metrics without data on, in percent, the canary fails.
const NODATA_PERCENT: f64 = 50.0;

/// Scores the results that are not muted.
///
/// A group's score is 100·Pass/(Pass + High + Low + NodataFailMetric). By default an Error counts like a failed metric;
/// compatible with the original it is left out, so a group of nothing but errors has no data and counts as 100.
/// Weighted groups have their weight, the others share what the weights leave of 100; weights are never normalised.
pub(crate) fn score(
    results: &[MetricResult],
    weights: &[(String, f64)],
    thresholds: Thresholds,
    mode: Mode,
) -> (Vec<GroupScore>, Score) {
    let scored: Vec<&MetricResult> = results.iter().filter(|result| !result.muted).collect();
    let groups = group_scores(&scored, mode);
    let no_data = scored
        .iter()
        .filter(|result| result.classification == Classification::Nodata)
        .count();
    let failure = scored
        .iter()
        .find(|result| result.critical && !passed(result));
    let (score, reason) = if let Some(failure) = failure {
        let reason = failure.reason.as_deref().unwrap_or("null");
        (0.0, format!("Canary Failed: {reason}"))
    } else if no_data as f64 / scored.len() as f64 * 100.0 >= NODATA_PERCENT {
        let reason = "Canary Failed: 50% or more metrics returned NODATA";
        (0.0, reason.to_owned())
    } else {
        let sum = summary_score(&groups, weights);
        // Groups add up to something without a metric that passed: one without data counts as 100.
        if mode == Mode::Default && sum > 0.0 && !scored.iter().any(|result| passed(result)) {
            (0.0, "Canary Failed: no metric passed".to_owned())
        } else {
            (sum, String::new())
        }
    };
    let verdict = if score >= thresholds.pass {
        Verdict::Pass
    } else if score >= thresholds.marginal {
        Verdict::Marginal
    } else {
        Verdict::Fail
    };
    let score = Score {
        score,
        verdict,
        reason,
    };
    (groups, score)
}

fn passed(result: &MetricResult) -> bool {
    result.classification == Classification::Pass
}

fn group_scores(scored: &[&MetricResult], mode: Mode) -> Vec<GroupScore> {
    let names = scored
        .iter()
        .flat_map(|result| result.groups.iter().flatten())
        .map(String::as_str);
    let mut tallies: Vec<(&str, u32, u32)> = hash_order::grouped(names)
        .into_iter()
        .map(|name| (name, 0, 0))
        .collect();
    for result in scored {
        let passes_one = u32::from(passed(result));
        let counted = u32::from(match result.classification {
            Classification::Pass
            | Classification::High
            | Classification::Low
            | Classification::NodataFailMetric => true,
            Classification::Error => mode == Mode::Default,
            Classification::Nodata => false,
        });
        for group in result.groups.iter().flatten() {
            if let Some((_, passes, total)) = tallies.iter_mut().find(|(name, ..)| name == group) {
                *passes += passes_one;
                *total += counted;
            }
        }
    }
    tallies
        .into_iter()
        .map(|(name, passes, total)| GroupScore {
            name: name.to_owned(),
            score: if total == 0 {
                0.0
            } else {
                f64::from(passes) / f64::from(total) * 100.0
            },
            no_data: total == 0,
        })
        .collect()
}

fn summary_score(groups: &[GroupScore], weights: &[(String, f64)]) -> f64 {
    let weight_of = |name: &str| {
        weights
            .iter()
            .find(|(group, _)| group == name)
            .map(|(_, weight)| *weight)
    };
    let names = weights.iter().map(|(name, _)| name.as_str()).collect();
    let total: f64 = hash_order::of_map(names)
        .into_iter()
        .filter_map(weight_of)
        .sum();
    let unweighted = groups
        .iter()
        .filter(|group| weight_of(&group.name).is_none())
        .count();
    let share = (100.0 - total) / unweighted as f64;
    let mut sum = 0.0;
    for group in groups {
        let score = if group.no_data { 100.0 } else { group.score };
        sum += score * (weight_of(&group.name).unwrap_or(share) / 100.0);
    }
    round_to_hundredths(sum)
}

/// Rounds to two decimals, half away from zero, on the shortest decimal form of the number: 12.345 gives 12.35 though
/// its binary value lies below. NaN and the infinities stay.
pub fn round_to_hundredths(value: f64) -> f64 {
    if !value.is_finite() {
        return value;
    }
    // Shortest digits and exponent: 12.345 is "1.2345e1".
    let text = format!("{:e}", value.abs());
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return value;
    };
    let Ok(exponent) = exponent.parse::<i32>() else {
        return value;
    };
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    // How many digits stand before the second decimal's end.
    let kept = exponent + 3;
    if kept >= digits.len() as i32 {
        return value;
    }
    let rounded = if kept < 0 {
        0.0
    } else {
        let (head, tail) = digits.split_at(kept as usize);
        let up = tail.first().is_some_and(|digit| *digit >= b'5');
        // At most 17 digits, and a number with decimals left has fewer than 16 before them: an integer holds it.
        let hundredths = head
            .iter()
            .fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'))
            + u64::from(up);
        format!("{hundredths}e-2").parse().unwrap_or(value)
    };
    rounded.copysign(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_half_up_on_the_decimal_form() {
        let cases = [
            (12.345, 12.35),
            (1.005, 1.01),
            (99.99499999999999, 99.99),
            (0.005, 0.01),
            (0.0049, 0.0),
            (5e-324, 0.0),
            (-1.005, -1.01),
            (33.333333333333336, 33.33),
            (1e300, 1e300),
        ];
        for (value, rounded) in cases {
            assert_eq!(round_to_hundredths(value), rounded, "{value}");
        }
        assert!(round_to_hundredths(-1e-9).is_sign_negative());
    }
}
