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
    least_shift: f64,
    greatest_shift: f64,
}

impl<'a> MannWhitney<'a> {
    /// Takes two sorted samples (see [`sorted`](crate::ranks::sorted)).
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
        Ok(Self {
            ranked: RankedPair::new(canary, baseline),
            m: canary.len() as f64,
            n: baseline.len() as f64,
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
    pub fn standardised(&self, shift: f64) -> Result<f64, Untestable> {
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
        let sigma =
            ((m * n / 12.0) * ((m + n + 1.0) - ranks.ties / ((m + n) * (m + n - 1.0)))).sqrt();
        if sigma == 0.0 {
            return Err(Untestable::AllTied);
        }
        Ok((centred - correction) / sigma)
    }

    /// Whether complete separation of the samples would standardise to more than `boundary` either way. With too few
    /// points it does not, and the interval then ends at the extremes of the data, not at infinity.
    pub fn can_exceed(&self, boundary: f64) -> bool {
        let exceeds = |shift| self.standardised(shift).is_ok_and(|z| z.abs() > boundary);
        exceeds(self.least_shift) && exceeds(self.greatest_shift)
    }

    /// The two-sided interval at a confidence level in (0, 1), by the original's search.
    ///
    /// # Errors
    /// [`Untestable::AllTied`] when σ is zero at one of the shifts the search visits.
    pub fn interval(&self, level: f64, resolution: Resolution) -> Result<Interval, Untestable> {
        let quantile = normal_quantile((1.0 - level) / 2.0);
        let at_least = self.standardised(self.least_shift)?;
        let at_greatest = self.standardised(self.greatest_shift)?;
        let tolerance = match resolution {
            Resolution::Absolute => brent::TOLERANCE,
            Resolution::Relative => {
                let width = self.greatest_shift - self.least_shift;
                brent::TOLERANCE * if width < 1.0 { width } else { 1.0 }
            }
        };
        let search = |quantile: f64| {
            let mut failed = None;
            let root = brent::root(
                self.least_shift,
                self.greatest_shift,
                at_least - quantile,
                at_greatest - quantile,
                tolerance,
                |shift| match self.standardised(shift) {
                    Ok(value) => value - quantile,
                    Err(error) => {
                        failed = Some(error);
                        f64::NAN
                    }
                },
            );
            failed.map_or(Ok(root), Err)
        };
        let end = |quantile: f64| {
            if at_least - quantile <= 0.0 {
                Ok(self.least_shift)
            } else if at_greatest - quantile >= 0.0 {
                Ok(self.greatest_shift)
            } else {
                search(quantile)
            }
        };
        Ok(Interval {
            lower: end(-quantile)?,
            upper: end(quantile)?,
            estimate: search(0.0)?,
        })
    }
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
