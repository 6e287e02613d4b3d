//! The Mann-Whitney (Wilcoxon rank-sum) interval of the shift between two samples.

use crate::brent;
use crate::ranks::{RankedPair, rank_sum, sorted};
use crate::statistics::normal_quantile;

/// The interval of the shift canary − baseline, and its point estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
    /// The Hodges-Lehmann estimate, up to the search's tolerance.
    pub estimate: f64,
}

impl Interval {
    /// Widened to hold zero, so that it claims no shift.
    pub(crate) fn with_zero(self) -> Self {
        Self {
            lower: self.lower.min(0.0),
            upper: self.upper.max(0.0),
            ..self
        }
    }
}

/// Why there is no interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untestable {
    /// A sample is empty.
    #[error("cannot compare an empty series")]
    Empty,
    /// At some shift all values coincide, so the statistic has no variance.
    #[error("cannot compute confidence interval when all observations are tied")]
    AllTied,
}

/// How fine the search for the interval's ends is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// An absolute 1e-4, the original's: numbers around 1e-4 and below get coarse intervals.
    Absolute,
    /// 1e-4 of the distance between the least and the greatest possible shift, where that distance is below 1;
    /// the same as [`Resolution::Absolute`] above.
    Relative,
}

/// Two samples prepared for the test: sorted once, then ranked at any shift by merging.
#[derive(Debug, Clone)]
pub struct MannWhitney<'a> {
    ranked: RankedPair<'a>,
    m: f64,
    n: f64,
    /// σ when no value of one sample equals one of the other, which is so at most shifts.
    own_sigma: f64,
    least_shift: f64,
    greatest_shift: f64,
}

impl<'a> MannWhitney<'a> {
    /// Takes two sorted samples (see [`sorted`]).
    ///
    /// # Errors
    /// [`Untestable::Empty`] when either is empty.
    pub fn new(canary: &'a [f64], baseline: &'a [f64]) -> Result<Self, Untestable> {
        let (Some(&canary_min), Some(&canary_max)) = (canary.first(), canary.last()) else {
            return Err(Untestable::Empty);
        };
        let (Some(&baseline_min), Some(&baseline_max)) = (baseline.first(), baseline.last()) else {
            return Err(Untestable::Empty);
        };
        let ranked = RankedPair::new(canary, baseline);
        let (m, n) = (canary.len() as f64, baseline.len() as f64);
        Ok(Self {
            own_sigma: sigma(m, n, ranked.own_ties()),
            ranked,
            m,
            n,
            least_shift: canary_min - baseline_max,
            greatest_shift: canary_max - baseline_min,
        })
    }

    /// The same for unsorted values: the extremes are then found in the order given, which matters only when a value
    /// is NaN (the original's minimum and maximum take whatever follows a NaN).
    fn with_extremes_of(mut self, canary: &[f64], baseline: &[f64]) -> Self {
        self.least_shift = least(canary) - greatest(baseline);
        self.greatest_shift = greatest(canary) - least(baseline);
        self
    }

    /// The standardised rank sum at a shift: (W − ½·sign W)/σ with W = R − m(m+1)/2 − mn/2 and
    /// σ² = mn/12·((m+n+1) − Σ(t³−t)/((m+n)(m+n−1))).
    ///
    /// # Errors
    /// [`Untestable::AllTied`] when σ is zero.
    pub fn standardised(&mut self, shift: f64) -> Result<f64, Untestable> {
        let (m, n) = (self.m, self.n);
        let ranks = self.ranked.at(shift);
        let centred = ranks.doubled as f64 / 2.0 - m * (m + 1.0) / 2.0 - m * n / 2.0;
        let correction = if centred > 0.0 {
            0.5
        } else if centred < 0.0 {
            -0.5
        } else {
            0.0
        };
        let sigma = if ranks.ties == self.ranked.own_ties() {
            self.own_sigma
        } else {
            sigma(m, n, ranks.ties)
        };
        if sigma == 0.0 {
            return Err(Untestable::AllTied);
        }
        Ok((centred - correction) / sigma)
    }

    /// Whether complete separation of the samples would standardise to more than `boundary` either way. With too few
    /// points it does not, and the interval then ends at the extremes of the data, not at infinity.
    pub fn can_exceed(&mut self, boundary: f64) -> bool {
        [self.least_shift, self.greatest_shift]
            .into_iter()
            .all(|shift| self.standardised(shift).is_ok_and(|z| z.abs() > boundary))
    }

    /// The two-sided interval at a confidence level in (0, 1), by the original's search.
    ///
    /// # Errors
    /// [`Untestable::AllTied`] when σ is zero at one of the shifts the search visits.
    pub fn interval(&mut self, level: f64, resolution: Resolution) -> Result<Interval, Untestable> {
        let quantile = normal_quantile((1.0 - level) / 2.0);
        let ends = Ends {
            at_least: self.standardised(self.least_shift)?,
            at_greatest: self.standardised(self.greatest_shift)?,
            tolerance: match resolution {
                Resolution::Absolute => brent::TOLERANCE,
                Resolution::Relative => {
                    let width = self.greatest_shift - self.least_shift;
                    brent::TOLERANCE * if width < 1.0 { width } else { 1.0 }
                }
            },
        };
        Ok(Interval {
            lower: self.end(-quantile, &ends)?,
            upper: self.end(quantile, &ends)?,
            estimate: self.search(0.0, &ends)?,
        })
    }

    fn end(&mut self, quantile: f64, ends: &Ends) -> Result<f64, Untestable> {
        if ends.at_least - quantile <= 0.0 {
            Ok(self.least_shift)
        } else if ends.at_greatest - quantile >= 0.0 {
            Ok(self.greatest_shift)
        } else {
            self.search(quantile, ends)
        }
    }

    fn search(&mut self, quantile: f64, ends: &Ends) -> Result<f64, Untestable> {
        let mut failed = None;
        // With infinite values the search stays at one infinite or undefined shift for all its steps.
        let mut last = (self.least_shift, ends.at_least);
        let root = brent::root(
            self.least_shift,
            self.greatest_shift,
            ends.at_least - quantile,
            ends.at_greatest - quantile,
            ends.tolerance,
            |shift| {
                if failed.is_some() {
                    return f64::NAN;
                }
                if shift.to_bits() != last.0.to_bits() {
                    match self.standardised(shift) {
                        Ok(value) => last = (shift, value),
                        Err(error) => {
                            failed = Some(error);
                            return f64::NAN;
                        }
                    }
                }
                last.1 - quantile
            },
        );
        failed.map_or(Ok(root), Err)
    }
}

/// What every search starts from: the standardised rank sums at the extreme shifts, and how fine it is.
struct Ends {
    at_least: f64,
    at_greatest: f64,
    tolerance: f64,
}

fn sigma(m: f64, n: f64, ties: f64) -> f64 {
    ((m * n / 12.0) * ((m + n + 1.0) - ties / ((m + n) * (m + n - 1.0)))).sqrt()
}

/// The interval of two unsorted samples with the original's search.
///
/// # Errors
/// As [`MannWhitney::new`] and [`MannWhitney::interval`].
pub fn interval(canary: &[f64], baseline: &[f64], level: f64) -> Result<Interval, Untestable> {
    let (canary_sorted, baseline_sorted) = (sorted(canary), sorted(baseline));
    MannWhitney::new(&canary_sorted, &baseline_sorted)?
        .with_extremes_of(canary, baseline)
        .interval(level, Resolution::Absolute)
}

fn least(values: &[f64]) -> f64 {
    let keep = |best: f64, value: f64| if best <= value { best } else { value };
    values.iter().copied().reduce(keep).unwrap_or(f64::NAN)
}

fn greatest(values: &[f64]) -> f64 {
    let keep = |best: f64, value: f64| if best >= value { best } else { value };
    values.iter().copied().reduce(keep).unwrap_or(f64::NAN)
}

/// Probability that a canary value exceeds a baseline value, ties half: (2·R − m(m+1)) / (2mn).
///
/// `overflowing` multiplies in 32-bit integers as the original does, which goes wrong from about 32,768 + 32,768
/// points on. NaN when a sample is empty. Both samples sorted.
pub fn common_language_effect(canary: &[f64], baseline: &[f64], overflowing: bool) -> f64 {
    let doubled = rank_sum(canary, baseline, 0.0).doubled as f64;
    if overflowing {
        let (m, n) = (canary.len() as i32, baseline.len() as i32);
        let least = m.wrapping_mul(m.wrapping_add(1));
        let pairs = 2i32.wrapping_mul(n).wrapping_mul(m);
        (doubled - f64::from(least)) / f64::from(pairs)
    } else {
        let (m, n) = (canary.len() as f64, baseline.len() as f64);
        (doubled - m * (m + 1.0)) / (2.0 * m * n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_language_effect_of_long_series_overflows_only_where_the_original_does() {
        let values: Vec<f64> = (0..40_000).map(f64::from).collect();
        let ours = common_language_effect(&values, &values, false);
        assert_eq!(ours, 0.5);
        assert_eq!(
            common_language_effect(&values, &values, true),
            -1.4612308567067924
        );
        let short = &values[..32_767];
        assert_eq!(common_language_effect(short, short, true), 0.5);
    }

    #[test]
    fn a_search_between_infinite_shifts_ends() {
        let found = interval(&[f64::INFINITY, 1.0], &[2.0, 3.0], 0.98).unwrap();
        assert_eq!((found.lower, found.upper), (-2.0, f64::INFINITY));
    }
}
