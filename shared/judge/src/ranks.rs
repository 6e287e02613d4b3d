//! Rank sums of two sorted samples at any shift, by merging: nothing is sorted inside the search.

use std::cmp::Ordering;

/// What the Wilcoxon statistic needs of the ranks at one shift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankSum {
    /// Twice the sum of the canary's ranks among all values (an integer, as averaged ranks are half-integers).
    pub doubled: u64,
    /// Σ(t³ − t) over the groups of t equal values.
    pub ties: f64,
}

/// NaN ranks with the greatest values, as in the original's ranking.
fn rankable(value: f64) -> f64 {
    if value.is_nan() { f64::INFINITY } else { value }
}

/// Sorts a sample for [`rank_sum`]; NaN goes to the end.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values
        .iter()
        .map(|&value| if value.is_nan() { f64::NAN } else { value })
        .collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// Ranks `canary − shift` among itself and the baseline, ties averaged; both samples sorted as by [`sorted`].
///
/// Equality is exact and −0.0 ranks below 0.0. The worked case: canary {1, 3}, baseline {2}, shift 0 has the canary at
/// ranks 1 and 3, so `doubled` is 8; at shift 1 the canary is {0, 2}, ranks 1 and 2.5, so `doubled` is 7, `ties` 6.
pub fn rank_sum(canary: &[f64], baseline: &[f64], shift: f64) -> RankSum {
    // Subtracting one number keeps a sorted sample sorted (rounding is monotone, and every NaN that infinities make
    // ranks last), so a merge sees the values in rank order.
    let mut shifted = canary.iter().map(|&x| rankable(x - shift)).peekable();
    let mut fixed = baseline.iter().map(|&y| rankable(y)).peekable();
    let (mut doubled, mut ties, mut before) = (0u64, 0.0, 0u64);
    loop {
        let value = match (shifted.peek(), fixed.peek()) {
            (None, None) => break,
            (Some(&x), None) => x,
            (None, Some(&y)) => y,
            (Some(&x), Some(&y)) => match x.total_cmp(&y) {
                Ordering::Greater => y,
                Ordering::Less | Ordering::Equal => x,
            },
        };
        let (mut of_canary, mut of_baseline) = (0u64, 0u64);
        while shifted
            .next_if(|x| x.to_bits() == value.to_bits())
            .is_some()
        {
            of_canary += 1;
        }
        while fixed.next_if(|y| y.to_bits() == value.to_bits()).is_some() {
            of_baseline += 1;
        }
        let group = of_canary + of_baseline;
        // The average of the ranks before+1 ..= before+group, doubled.
        doubled += of_canary * (2 * before + group + 1);
        ties += cubed_less_itself(group);
        before += group;
    }
    RankSum { doubled, ties }
}

/// t³ − t for a group of t ties; 0 for a value on its own.
fn cubed_less_itself(group: u64) -> f64 {
    let group = group as f64;
    group * group * group - group
}

/// The rank of each value, ties averaged, in the order given: the plain definition that [`rank_sum`] is tested against.
pub fn average_ranks(values: &[f64]) -> Vec<f64> {
    let keys: Vec<f64> = values.iter().map(|&value| rankable(value)).collect();
    let sorted = sorted(&keys);
    keys.iter()
        .map(|key| {
            let below = sorted.partition_point(|other| other.total_cmp(key).is_lt());
            let through = sorted.partition_point(|other| other.total_cmp(key).is_le());
            (below + through + 1) as f64 / 2.0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_across_the_samples_share_their_average_rank() {
        let sum = rank_sum(&[1.0, 3.0], &[2.0], 1.0);
        assert_eq!(
            sum,
            RankSum {
                doubled: 7,
                ties: 6.0
            }
        );
    }
}
