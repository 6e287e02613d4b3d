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

/// Sorts a sample for [`rank_sum`]; NaN goes to the end, −0.0 before 0.0.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    // Integers in the order of the doubles they stand for: comparing them is one instruction.
    let mut keys: Vec<i64> = values
        .iter()
        .map(|&value| order_key(if value.is_nan() { f64::NAN } else { value }))
        .collect();
    keys.sort_unstable();
    keys.into_iter().map(of_order_key).collect()
}

fn order_key(value: f64) -> i64 {
    flip_negative(value.to_bits() as i64)
}

fn of_order_key(key: i64) -> f64 {
    f64::from_bits(flip_negative(key) as u64)
}

/// The mapping of `f64::total_cmp`, its own inverse: the magnitude bits of negative numbers count down.
fn flip_negative(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
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

/// Two sorted samples whose rank sums are asked for at many shifts.
///
/// Most shifts make no value of one sample equal to one of the other. Then the ties are those within each sample, known
/// beforehand, and the rank sum follows from the number of pairs in which the canary is greater, which is counted
/// without branches. Any other shift is ranked by [`rank_sum`]: the numbers are the same either way.
#[derive(Debug, Clone)]
pub struct RankedPair<'a> {
    canary: &'a [f64],
    baseline: &'a [f64],
    /// Σ(t³ − t) within the samples.
    own_ties: f64,
    /// The greatest magnitude of a canary value up to which its values stay apart; negative if never to be counted.
    apart_up_to: f64,
    greatest_magnitude: f64,
}

impl<'a> RankedPair<'a> {
    /// Takes two samples sorted as by [`sorted`].
    pub fn new(canary: &'a [f64], baseline: &'a [f64]) -> Self {
        let greatest_magnitude = [canary.first(), canary.last()]
            .into_iter()
            .flatten()
            .fold(0.0, |greatest: f64, value| greatest.max(value.abs()));
        let plain = is_plain(canary) && is_plain(baseline);
        // A difference of doubles below M in magnitude is rounded by at most half of M·2^-52, so values further apart
        // than M·2^-52 stay apart; twice that to be safe from the rounding of M itself.
        let apart_up_to = if plain {
            least_gap(canary) / (2.0 * f64::EPSILON)
        } else {
            -1.0
        };
        Self {
            canary,
            baseline,
            own_ties: ties_within(canary) + ties_within(baseline),
            apart_up_to,
            greatest_magnitude,
        }
    }

    /// As [`rank_sum`] of the two samples.
    pub fn at(&self, shift: f64) -> RankSum {
        // Also false for a NaN, and for a shift that makes the sum infinite.
        if self.greatest_magnitude + shift.abs() < self.apart_up_to
            && let Some(greater) = pairs_greater(self.canary, self.baseline, shift)
        {
            let m = self.canary.len() as u64;
            return RankSum {
                doubled: 2 * greater + m * (m + 1),
                ties: self.own_ties,
            };
        }
        rank_sum(self.canary, self.baseline, shift)
    }
}

/// Whether all values are finite and none is −0.0, which ranks below 0.0 but compares equal.
fn is_plain(values: &[f64]) -> bool {
    let negative_zero = (-0.0f64).to_bits();
    values
        .iter()
        .all(|value| value.is_finite() && value.to_bits() != negative_zero)
}

/// The least distance of two different neighbours; infinite if there are none.
fn least_gap(sorted: &[f64]) -> f64 {
    sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .map(|(value, next)| next - value)
        .filter(|gap| *gap > 0.0)
        .fold(f64::INFINITY, f64::min)
}

fn ties_within(sorted: &[f64]) -> f64 {
    sorted
        .chunk_by(|value, next| value == next)
        .map(|group| cubed_less_itself(group.len() as u64))
        .sum()
}

/// How many stretches of the merge run side by side: each step waits for the one before, so one stretch alone would
/// leave the processor idle most of the time.
const LANES: usize = 8;

/// Counts the pairs in which `canary − shift` is above the baseline, or none if in some pair they are equal.
///
/// The merge of the two samples is cut into equal stretches, which advance together. A step takes the baseline's next
/// value if it is below the canary's, else the canary's, so i + j grows by one. Each canary value taken stands above
/// the j baseline values before it: the count is Σj over all steps less the Σj of the steps that took a baseline
/// value, and those add up to 0 + 1 + … + (n − 1).
fn pairs_greater(canary: &[f64], baseline: &[f64], shift: f64) -> Option<u64> {
    let at = |values: &[f64], index: usize| values.get(index).copied().unwrap_or(f64::INFINITY);
    let steps = canary.len() + baseline.len();
    let stretch = steps / LANES;
    let mut taken = [0usize; LANES];
    for (lane, taken) in taken.iter_mut().enumerate() {
        *taken = baseline_taken(canary, baseline, shift, lane * stretch);
    }
    let (mut sum, mut equal) = (0usize, false);
    for step in 0..stretch {
        for (lane, taken) in taken.iter_mut().enumerate() {
            let x = at(canary, lane * stretch + step - *taken) - shift;
            let y = at(baseline, *taken);
            sum += *taken;
            equal |= x == y;
            *taken += usize::from(y < x);
        }
    }
    let mut last = taken.last().copied().unwrap_or(0);
    for step in LANES * stretch..steps {
        let x = at(canary, step - last) - shift;
        let y = at(baseline, last);
        sum += last;
        equal |= x == y;
        last += usize::from(y < x);
    }
    let n = baseline.len();
    (!equal).then(|| (sum - n * n.saturating_sub(1) / 2) as u64)
}

/// How many of the first `steps` steps of the merge take a baseline value, by bisection.
fn baseline_taken(canary: &[f64], baseline: &[f64], shift: f64, steps: usize) -> usize {
    let mut low = steps.saturating_sub(canary.len());
    let mut high = steps.min(baseline.len());
    while low < high {
        let middle = low + (high - low) / 2;
        // The baseline's value at `middle` is among the first `steps` if it is below the canary value that would
        // otherwise stand there.
        let below = match (baseline.get(middle), canary.get(steps - middle - 1)) {
            (Some(y), Some(x)) => *y < x - shift,
            _ => false,
        };
        if below {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
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
    use proptest::prelude::*;

    /// Coarse values, so that ties are frequent, with some that are hard: zeros of both signs, infinities, tiny steps.
    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => (-20i32..20).prop_map(|v| f64::from(v) / 4.0),
            4 => -100.0..100.0f64,
            1 => prop_oneof![Just(-0.0), Just(0.0), Just(1e-300), Just(1.0 + f64::EPSILON)],
            1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(1e308), Just(-1e308)],
        ]
    }

    proptest! {
        #[test]
        fn counting_and_merging_rank_as_the_definition_does(
            canary in prop::collection::vec(value(), 1..60),
            baseline in prop::collection::vec(value(), 1..60),
            shift in value(),
        ) {
            let shifted: Vec<f64> = canary.iter().map(|x| x - shift).collect();
            let all: Vec<f64> = shifted.iter().chain(&baseline).copied().collect();
            let ranks = average_ranks(&all);
            let sum: f64 = ranks.iter().take(canary.len()).sum();
            let mut ordered = ranks.clone();
            ordered.sort_unstable_by(f64::total_cmp);
            let ties: f64 = ties_within(&ordered);
            let expected = RankSum { doubled: (2.0 * sum) as u64, ties };
            let (canary, baseline) = (sorted(&canary), sorted(&baseline));
            prop_assert_eq!(rank_sum(&canary, &baseline, shift), expected);
            prop_assert_eq!(RankedPair::new(&canary, &baseline).at(shift), expected);
        }
    }

    #[test]
    fn a_shift_that_rounds_neighbours_together_is_seen() {
        let canary = [1.0, 1.0 + f64::EPSILON];
        let baseline = [-4e9];
        let sum = RankedPair::new(&canary, &baseline).at(3e9);
        assert_eq!(sum, rank_sum(&canary, &baseline, 3e9));
        assert_eq!(sum.ties, 6.0);
    }

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
