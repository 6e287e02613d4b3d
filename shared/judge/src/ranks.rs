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
    let mut keys: Vec<u64> = values
        .iter()
        .map(|&value| order_key(if value.is_nan() { f64::NAN } else { value }))
        .collect();
    keys.sort_unstable();
    keys.into_iter().map(of_order_key).collect()
}

const SIGN: u64 = 1 << 63;

/// An integer that orders as `f64::total_cmp` does: positive numbers above the negative ones, whose bits count down.
fn order_key(value: f64) -> u64 {
    let bits = value.to_bits();
    bits ^ (((bits as i64) >> 63) as u64 | SIGN)
}

fn of_order_key(key: u64) -> f64 {
    f64::from_bits(key ^ (((!key as i64) >> 63) as u64 | SIGN))
}

/// Ranks `canary − shift` among itself and the baseline, ties averaged; both samples sorted as by [`sorted`].
///
/// Equality is exact and −0.0 ranks below 0.0. The worked case: canary {1, 3}, baseline {2}, shift 0 has the canary at
/// ranks 1 and 3, so `doubled` is 8; at shift 1 the canary is {0, 2}, ranks 1 and 2.5, so `doubled` is 7, `ties` 6.
pub fn rank_sum(canary: &[f64], baseline: &[f64], shift: f64) -> RankSum {
    let single = |value: &f64| (*value, 1);
    rank_sum_of_groups(
        canary.iter().map(single),
        baseline.iter().map(single),
        shift,
    )
}

/// [`rank_sum`] of values with how often each occurs.
fn rank_sum_of_groups(
    canary: impl Iterator<Item = (f64, u64)>,
    baseline: impl Iterator<Item = (f64, u64)>,
    shift: f64,
) -> RankSum {
    // Subtracting one number keeps a sorted sample sorted (rounding is monotone, and every NaN that infinities make
    // ranks last), so a merge sees the values in rank order.
    let mut shifted = canary
        .map(|(x, count)| (rankable(x - shift), count))
        .peekable();
    let mut fixed = baseline.map(|(y, count)| (rankable(y), count)).peekable();
    let (mut doubled, mut ties, mut before) = (0u64, 0.0, 0u64);
    loop {
        let value = match (shifted.peek(), fixed.peek()) {
            (None, None) => break,
            (Some(&(x, _)), None) => x,
            (None, Some(&(y, _))) => y,
            (Some(&(x, _)), Some(&(y, _))) => match x.total_cmp(&y) {
                Ordering::Greater => y,
                Ordering::Less | Ordering::Equal => x,
            },
        };
        let same = |group: &(f64, u64)| group.0.to_bits() == value.to_bits();
        let (mut of_canary, mut of_baseline) = (0u64, 0u64);
        while let Some((_, count)) = shifted.next_if(same) {
            of_canary += count;
        }
        while let Some((_, count)) = fixed.next_if(same) {
            of_baseline += count;
        }
        let group = of_canary + of_baseline;
        // The average of the ranks before+1 ..= before+group, doubled.
        doubled += of_canary * (2 * before + group + 1);
        ties += cubed_less_itself(group);
        before += group;
    }
    RankSum { doubled, ties }
}

/// The distinct values of a sorted sample, in their order, with how often each occurs.
fn groups(sorted: &[f64]) -> Vec<(f64, u64)> {
    sorted
        .chunk_by(|value, next| value.to_bits() == next.to_bits())
        .filter_map(|group| Some((*group.first()?, group.len() as u64)))
        .collect()
}

/// Two sorted samples whose rank sums are asked for at many shifts.
///
/// Most shifts make no value of one sample equal to one of the other. Then the ties are those within each sample, known
/// beforehand, and the rank sum follows from the number of pairs in which the canary is greater, which is counted
/// without branches. Other shifts are ranked by merging, and so are samples of few distinct values, where merging
/// groups of equal values is quicker. The numbers are the same whichever way.
#[derive(Debug, Clone)]
pub struct RankedPair<'a> {
    canary: &'a [f64],
    baseline: &'a [f64],
    /// The distinct values of both samples, if they are few.
    groups: Option<Groups>,
    /// The baseline as integers of the same order, and the canary at the last shift that was counted.
    baseline_keys: Vec<u64>,
    canary_keys: Vec<u64>,
    /// Σ(t³ − t) within the samples.
    own_ties: f64,
    /// The greatest magnitude up to which canary values stay apart; negative if they are never to be counted.
    apart_up_to: f64,
    greatest_magnitude: f64,
    /// The same keys of both, where both samples are short.
    short: Option<(ShortKeys, ShortKeys)>,
}

/// The groups of equal values of the canary and of the baseline.
#[derive(Debug, Clone)]
struct Groups {
    canary: Vec<(f64, u64)>,
    baseline: Vec<(f64, u64)>,
}

/// Merging a group takes about this many times as long as counting a value.
const GROUP_COST: usize = 5;

impl<'a> RankedPair<'a> {
    /// Takes two samples sorted as by [`sorted`].
    pub fn new(canary: &'a [f64], baseline: &'a [f64]) -> Self {
        let (own, other) = (Survey::of(canary), Survey::of(baseline));
        let plain = own.plain && other.plain;
        let few = (own.distinct + other.distinct) * GROUP_COST < canary.len() + baseline.len();
        let short = !few && canary.len().max(baseline.len()) < SHORT_KEYS;
        Self {
            canary,
            baseline,
            groups: few.then(|| Groups {
                canary: groups(canary),
                baseline: groups(baseline),
            }),
            baseline_keys: if few || short {
                Vec::new()
            } else {
                baseline.iter().map(|&value| order_key(value)).collect()
            },
            canary_keys: Vec::with_capacity(if few || short { 0 } else { canary.len() }),
            own_ties: own.ties + other.ties,
            // A difference of doubles below M in magnitude is rounded by at most half of M·2^-52, so values further
            // apart than M·2^-52 stay apart; twice that to be safe from the rounding of M itself.
            apart_up_to: if plain {
                own.least_gap / (2.0 * f64::EPSILON)
            } else {
                -1.0
            },
            greatest_magnitude: own.greatest_magnitude,
            short: short.then(|| (short_keys(canary), short_keys(baseline))),
        }
    }

    /// Σ(t³ − t) within the samples: the ties at every shift that makes no value of one equal one of the other.
    pub fn own_ties(&self) -> f64 {
        self.own_ties
    }

    /// As [`rank_sum`] of the two samples.
    pub fn at(&mut self, shift: f64) -> RankSum {
        if let Some(groups) = &self.groups {
            let (canary, baseline) = (groups.canary.iter(), groups.baseline.iter());
            return rank_sum_of_groups(canary.copied(), baseline.copied(), shift);
        }
        // Also false for a NaN, and for a shift that makes the sum infinite.
        if self.greatest_magnitude + shift.abs() < self.apart_up_to {
            let shifted = self.canary.iter().map(|&value| order_key(value - shift));
            let greater = if let Some((canary, baseline)) = &mut self.short {
                canary
                    .iter_mut()
                    .zip(shifted)
                    .for_each(|(to, key)| *to = key);
                let sizes = (self.canary.len(), self.baseline.len());
                pairs_greater::<4>(sizes, |at| masked(canary, at), |at| masked(baseline, at))
            } else {
                self.canary_keys.clear();
                self.canary_keys.extend(shifted);
                let (canary, baseline) = (&self.canary_keys, &self.baseline_keys);
                let sizes = (canary.len(), baseline.len());
                let at = |keys: &[u64], at: usize| keys.get(at).copied().unwrap_or(u64::MAX);
                if sizes.0 + sizes.1 <= SHORT {
                    pairs_greater::<3>(sizes, |i| at(canary, i), |i| at(baseline, i))
                } else {
                    pairs_greater::<6>(sizes, |i| at(canary, i), |i| at(baseline, i))
                }
            };
            if let Some(greater) = greater {
                let m = self.canary.len() as u64;
                return RankSum {
                    doubled: 2 * greater + m * (m + 1),
                    ties: self.own_ties,
                };
            }
        }
        rank_sum(self.canary, self.baseline, shift)
    }
}

/// What is to be known of a sorted sample before it is ranked.
struct Survey {
    /// All values are finite and none is −0.0, which ranks below 0.0 but compares equal.
    plain: bool,
    /// The least distance of two different neighbours; infinite if there are none.
    least_gap: f64,
    /// Σ(t³ − t) over groups of equal values.
    ties: f64,
    distinct: usize,
    greatest_magnitude: f64,
}

impl Survey {
    fn of(sorted: &[f64]) -> Self {
        let first = sorted.first().copied().unwrap_or(0.0);
        let last = sorted.last().copied().unwrap_or(0.0);
        let negative_zero = sorted
            .binary_search_by(|value| value.total_cmp(&-0.0))
            .is_ok();
        let mut survey = Self {
            plain: first.is_finite() && last.is_finite() && !negative_zero,
            least_gap: f64::INFINITY,
            ties: 0.0,
            distinct: usize::from(!sorted.is_empty()),
            greatest_magnitude: first.abs().max(last.abs()),
        };
        let mut group = 1u64;
        for (value, next) in sorted.iter().zip(sorted.iter().skip(1)) {
            if value == next {
                group += 1;
                continue;
            }
            survey.least_gap = survey.least_gap.min(next - value);
            survey.distinct += 1;
            if group > 1 {
                survey.ties += cubed_less_itself(group);
                group = 1;
            }
        }
        survey.ties += cubed_less_itself(group);
        survey
    }
}

/// Up to this many values, dividing the merge into many stretches costs more than it saves.
const SHORT: usize = 400;

/// Counts the pairs in which the canary is above the baseline, or none if in some pair they are equal.
///
/// The merge of the two samples is cut into equal stretches, which advance together: each step of a stretch waits for
/// the one before, so a single one would leave the processor idle most of the time. A step takes the baseline's next
/// value if it is below the canary's, else the canary's, so i + j grows by one. Each canary value taken stands above
/// the j baseline values before it: the count is Σj over all steps less the Σj of the steps that took a baseline
/// value, and those add up to 0 + 1 + … + (n − 1). Past its end a sample stands above everything.
fn pairs_greater<const LANES: usize>(
    (m, n): (usize, usize),
    canary: impl Fn(usize) -> u64,
    baseline: impl Fn(usize) -> u64,
) -> Option<u64> {
    let steps = m + n;
    let stretch = steps / LANES;
    let mut taken = [0usize; LANES];
    for (lane, taken) in taken.iter_mut().enumerate() {
        *taken = baseline_taken((m, n), &canary, &baseline, lane * stretch);
    }
    let (mut sum, mut equal) = (0usize, false);
    let mut advance = |step: usize, taken: &mut usize| {
        let (x, y) = (canary(step - *taken), baseline(*taken));
        sum += *taken;
        equal |= x == y;
        *taken += usize::from(y < x);
    };
    for step in 0..stretch {
        for (lane, taken) in taken.iter_mut().enumerate() {
            advance(lane * stretch + step, taken);
        }
    }
    let mut last = taken.last().copied().unwrap_or(0);
    for step in LANES * stretch..steps {
        advance(step, &mut last);
    }
    (!equal).then(|| (sum - n * n.saturating_sub(1) / 2) as u64)
}

/// How many of the first `steps` steps of the merge take a baseline value, by bisection.
fn baseline_taken(
    (m, n): (usize, usize),
    canary: &impl Fn(usize) -> u64,
    baseline: &impl Fn(usize) -> u64,
    steps: usize,
) -> usize {
    let mut low = steps.saturating_sub(m);
    let mut high = steps.min(n);
    while low < high {
        let middle = low + (high - low) / 2;
        // The baseline's value at `middle` is among the first `steps` if it is below the canary value that would
        // otherwise stand there.
        if baseline(middle) < canary(steps - middle - 1) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The keys of a short sample, in an array whose end is known when this is compiled: looking one up needs no check.
type ShortKeys = [u64; SHORT_KEYS];
const SHORT_KEYS: usize = 128;

/// The keys of a sample of at most 127 values; what follows them stands above everything.
fn short_keys(sample: &[f64]) -> ShortKeys {
    let mut keys = [u64::MAX; SHORT_KEYS];
    keys.iter_mut()
        .zip(sample)
        .for_each(|(to, &value)| *to = order_key(value));
    keys
}

/// Places up to 127 exist.
fn masked(keys: &ShortKeys, at: usize) -> u64 {
    keys.get(at % SHORT_KEYS).copied().unwrap_or(u64::MAX)
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

    /// Short ones, and some that are too long for the arrays of short ones.
    fn sample() -> impl Strategy<Value = Vec<f64>> {
        prop_oneof![
            3 => prop::collection::vec(value(), 1..60),
            1 => prop::collection::vec(value(), 120..160),
        ]
    }

    proptest! {
        #[test]
        fn counting_and_merging_rank_as_the_definition_does(
            canary in sample(),
            baseline in sample(),
            shift in value(),
        ) {
            let shifted: Vec<f64> = canary.iter().map(|x| x - shift).collect();
            let all: Vec<f64> = shifted.iter().chain(&baseline).copied().collect();
            let ranks = average_ranks(&all);
            let sum: f64 = ranks.iter().take(canary.len()).sum();
            let mut ordered = ranks.clone();
            ordered.sort_unstable_by(f64::total_cmp);
            let ties: f64 = Survey::of(&ordered).ties;
            let expected = RankSum { doubled: (2.0 * sum) as u64, ties };
            let (canary, baseline) = (sorted(&canary), sorted(&baseline));
            prop_assert_eq!(rank_sum(&canary, &baseline, shift), expected);
            prop_assert_eq!(RankedPair::new(&canary, &baseline).at(shift), expected);
            let grouped = rank_sum_of_groups(
                groups(&canary).into_iter(),
                groups(&baseline).into_iter(),
                shift,
            );
            prop_assert_eq!(grouped, expected);
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
