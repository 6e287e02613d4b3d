//! Looking again and again without breaking the promise: intervals that hold at every look at once.

use crate::judge::TOLERANCE;
use crate::statistics::normal_probability;

/// A promise about repeated looks: if baseline and canary are alike, the chance that *any* look ever says High or Low is
/// at most `false_alarm_rate`, however many looks there are and whenever they happen.
///
/// The judge calls a shift when the interval clears a quarter of the estimate, which it does when the standardised
/// estimate exceeds q/0.75, q being the interval's quantile. With the fixed q = 2.326 that is 3.10: rarely exceeded in
/// one look (0.2 %), ever more often in many. Here it has to exceed the normal mixture boundary, which grows with the
/// looks: with m and n points on the sides, information t = mn/(m+n), and a constant ρ,
///
/// z(t) = √((1 + ρ/t)·ln((t + ρ)/(ρ·α²))), and q = 0.75·z(t).
///
/// At α = 0.02 and 60 planned points z is 3.40 at 30 + 30 points, 3.35 at 60 + 60 and 3.44 at 240 + 240. ρ is chosen so
/// that z is about least at the planned points; any other number of points is still valid. Points must not depend on
/// each other, as for the single look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sequential {
    false_alarm_rate: f64,
    planned_points: f64,
}

impl Sequential {
    /// Promises a rate in (0, 1), tuned for a number of points on each side, at least 1.
    /// None if either is out of range.
    pub fn new(false_alarm_rate: f64, planned_points: f64) -> Option<Self> {
        let valid = false_alarm_rate > 0.0
            && false_alarm_rate < 1.0
            && planned_points >= 1.0
            && planned_points.is_finite();
        valid.then_some(Self {
            false_alarm_rate,
            planned_points,
        })
    }

    /// The promised rate.
    pub fn false_alarm_rate(&self) -> f64 {
        self.false_alarm_rate
    }

    /// z(t): what the standardised estimate has to exceed with this many points on the two sides; infinite without any.
    pub fn boundary(&self, canary_points: usize, baseline_points: usize) -> f64 {
        let (m, n) = (canary_points as f64, baseline_points as f64);
        let information = m * n / (m + n);
        let log = -2.0 * self.false_alarm_rate.ln();
        // Where z(t) is least, to about a per cent; both sides at the planned points have t = planned/2.
        let rho = self.planned_points / 2.0 / (log + (1.0 + log).ln());
        if information > 0.0 {
            ((1.0 + rho / information) * (((information + rho) / rho).ln() + log)).sqrt()
        } else {
            f64::INFINITY
        }
    }

    /// The confidence level of the interval at this look: 1 − 2Φ(−q), q = 0.75·z(t).
    pub fn level(&self, canary_points: usize, baseline_points: usize) -> f64 {
        let quantile = (1.0 - TOLERANCE) * self.boundary(canary_points, baseline_points);
        1.0 - 2.0 * normal_probability(-quantile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundaries_are_those_in_the_documentation() {
        let promise = Sequential::new(0.02, 60.0).unwrap();
        for (points, boundary) in [(30, 3.40), (60, 3.35), (240, 3.44)] {
            let found = promise.boundary(points, points);
            assert!((found - boundary).abs() < 0.005, "{points}: {found}");
        }
    }

    #[test]
    fn no_points_prove_nothing() {
        let promise = Sequential::new(0.02, 60.0).unwrap();
        assert_eq!(promise.boundary(0, 10), f64::INFINITY);
        assert_eq!(promise.level(0, 0), 1.0);
        assert!(Sequential::new(0.0, 60.0).is_none());
        assert!(Sequential::new(0.02, f64::NAN).is_none());
    }
}
