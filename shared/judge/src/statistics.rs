//! Descriptive statistics and effect sizes, with the arithmetic of the original step by step.

use std::f64::consts::SQRT_2;

/// Minimum, maximum, mean, sample standard deviation and count of one series; all zero for an empty one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The sample standard deviation (n − 1); 0 for one value.
    pub std: f64,
    /// How many values there are.
    pub count: usize,
}

/// Summarises a series.
pub fn summary(values: &[f64]) -> Summary {
    if values.is_empty() {
        return Summary {
            min: 0.0,
            max: 0.0,
            mean: 0.0,
            std: 0.0,
            count: 0,
        };
    }
    let mean = mean(values);
    Summary {
        min: fold_present(values, |best, value| best < value),
        max: fold_present(values, |best, value| best > value),
        mean,
        std: variance(values, mean).sqrt(),
        count: values.len(),
    }
}

/// [`summary`] of a series without NaN whose sorted form is at hand.
pub(crate) fn summary_of(values: &[f64], sorted: &[f64]) -> Summary {
    let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
        return summary(values);
    };
    if min == 0.0 || max == 0.0 {
        // Which zero is shown depends on the order given.
        return summary(values);
    }
    let mean = mean(values);
    Summary {
        min,
        max,
        mean,
        std: variance(values, mean).sqrt(),
        count: values.len(),
    }
}

/// Keeps the current value where `keeps` says so and takes the next one otherwise, leaving NaN out.
/// Written so that of two equal zeros the later one wins, as in the original (its sign is shown to users).
fn fold_present(values: &[f64], keeps: impl Fn(f64, f64) -> bool) -> f64 {
    let first = values.first().copied().unwrap_or(f64::NAN);
    values
        .iter()
        .filter(|value| !value.is_nan())
        .fold(
            first,
            |best, &value| {
                if keeps(best, value) { best } else { value }
            },
        )
}

/// The arithmetic mean, two passes: the sum over n, then corrected by the mean of what is left. NaN when empty.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let count = values.len() as f64;
    let first_pass = values.iter().sum::<f64>() / count;
    let correction: f64 = values.iter().map(|value| value - first_pass).sum();
    first_pass + correction / count
}

/// The sample variance around a given mean, corrected for the mean's rounding; 0 for one value, NaN for none.
pub fn variance(values: &[f64], mean: f64) -> f64 {
    match values.len() {
        0 => f64::NAN,
        1 => 0.0,
        count => {
            let (mut squares, mut deviations) = (0.0, 0.0);
            for value in values {
                let deviation = value - mean;
                squares += deviation * deviation;
                deviations += deviation;
            }
            let count = count as f64;
            (squares - deviations * deviations / count) / (count - 1.0)
        }
    }
}

/// The percentile `p` (above 0, at most 100) of an unsorted series by R's type 7: linear between the order statistics
/// around position 1 + (n − 1)·p/100. NaN values are left out; NaN when nothing is left.
pub fn percentile(values: &[f64], p: f64) -> f64 {
    if let [only] = values {
        return *only;
    }
    let mut sorted: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| !value.is_nan())
        .collect();
    sorted.sort_unstable_by(f64::total_cmp);
    percentile_of_sorted(&sorted, p)
}

/// [`percentile`] of a series that is sorted and holds no NaN.
pub fn percentile_of_sorted(sorted: &[f64], p: f64) -> f64 {
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
        return f64::NAN;
    };
    let share = p / 100.0;
    let position = if share == 0.0 {
        0.0
    } else if share == 1.0 {
        sorted.len() as f64
    } else {
        1.0 + (sorted.len() as f64 - 1.0) * share
    };
    if position < 1.0 {
        return *first;
    }
    if position >= sorted.len() as f64 {
        return *last;
    }
    let below = position.floor();
    let fraction = position - below;
    let index = below as usize;
    let lower = sorted.get(index - 1).copied().unwrap_or(f64::NAN);
    let upper = sorted.get(index).copied().unwrap_or(f64::NAN);
    lower + fraction * (upper - lower)
}

/// Which fences [`outlier_fences`] draws around the quartiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fences {
    /// Values below this are outliers.
    pub lower: f64,
    /// Values above this are outliers.
    pub upper: f64,
}

/// Draws the interquartile fences: p25 − f·iqr and p75 + f·iqr, and with `reduce_sensitivity` never inside the 1st and
/// 99th percentile. A NaN fence (an infinite quartile) excludes nothing.
pub fn outlier_fences(values: &[f64], factor: f64, reduce_sensitivity: bool) -> Fences {
    if let [only] = values {
        // The original returns a lone value as its own percentile before it looks for NaN.
        return outlier_fences_of_sorted(&[*only], factor, reduce_sensitivity);
    }
    let mut present: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| !value.is_nan())
        .collect();
    present.sort_unstable_by(f64::total_cmp);
    outlier_fences_of_sorted(&present, factor, reduce_sensitivity)
}

/// [`outlier_fences`] of a series that is sorted and holds no NaN.
pub fn outlier_fences_of_sorted(sorted: &[f64], factor: f64, reduce_sensitivity: bool) -> Fences {
    let at = |p| percentile_of_sorted(sorted, p);
    let (p25, p75) = (at(25.0), at(75.0));
    let range = p75 - p25;
    let (lower, upper) = (p25 - factor * range, p75 + factor * range);
    if reduce_sensitivity {
        Fences {
            lower: nan_or(f64::min, at(1.0), lower),
            upper: nan_or(f64::max, at(99.0), upper),
        }
    } else {
        Fences { lower, upper }
    }
}

/// Rust's `min` and `max` prefer the number, Java's the NaN.
fn nan_or(choose: fn(f64, f64) -> f64, a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        choose(a, b)
    }
}

impl Fences {
    /// Whether a value lies strictly outside.
    pub fn excludes(&self, value: f64) -> bool {
        value > self.upper || value < self.lower
    }
}

/// Canary mean over baseline mean; NaN when either mean is zero or undefined.
pub fn mean_ratio(baseline: &[f64], canary: &[f64]) -> f64 {
    ratio_of_means(mean(baseline), mean(canary))
}

/// [`mean_ratio`] of means already computed.
pub fn ratio_of_means(baseline: f64, canary: f64) -> f64 {
    if baseline == 0.0 || canary == 0.0 {
        f64::NAN
    } else {
        canary / baseline
    }
}

/// Cohen's d: the distance of the means over the pooled standard deviation.
pub fn cohen_d(baseline: &[f64], canary: &[f64]) -> f64 {
    let (baseline, canary) = (summary(baseline), summary(canary));
    // The counts are 32-bit integers in the original, signed: two empty series give −2 below, not an overflow.
    let (n, m) = (baseline.count as f64, canary.count as f64);
    let pooled = (((m - 1.0) * (canary.std * canary.std)
        + (n - 1.0) * (baseline.std * baseline.std))
        / (m + n - 2.0))
        .sqrt();
    (canary.mean - baseline.mean).abs() / pooled
}

/// The `p`-quantile of the standard normal distribution; ±infinity at 0 and 1, NaN outside.
///
/// M. Giles' polynomials for the inverse error function, accurate to about 1e-15 relative: the approximation the
/// original uses, so the quantiles are its quantiles (Φ⁻¹(0.010000000000000009) = −2.326347874040841).
pub fn normal_quantile(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    SQRT_2 * inverse_error_function(2.0 * p - 1.0)
}

/// The standard normal distribution function.
pub fn normal_probability(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

fn horner(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

fn inverse_error_function(x: f64) -> f64 {
    // 1 − x² written as a product: near ±1 the square would lose the digits that matter.
    let w = -libm::log((1.0 - x) * (1.0 + x));
    let p = if w < 6.25 {
        horner(&CENTRE, w - 3.125)
    } else if w < 16.0 {
        horner(&MIDDLE, w.sqrt() - 3.25)
    } else if w.is_finite() {
        horner(&TAIL, w.sqrt() - 5.0)
    } else {
        f64::INFINITY
    };
    p * x
}

#[rustfmt::skip]
const CENTRE: [f64; 23] = [
    -3.64441206401782e-21, -1.6850591381820166e-19, 1.28584807152564e-18, 1.1157877678025181e-17,
    -1.333171662854621e-16, 2.0972767875968562e-17, 6.637638134358324e-15, -4.054566272975207e-14,
    -8.151934197605472e-14, 2.6335093153082323e-12, -1.2975133253453532e-11, -5.415412054294628e-11,
    1.0512122733215323e-09, -4.112633980346984e-09, -2.9070369957882005e-08, 4.2347877827932404e-07,
    -1.3654692000834679e-06, -1.3882523362786469e-05, 0.00018673420803405714, -0.000740702534166267,
    -0.006033670871430149, 0.24015818242558962, 1.6536545626831027,
];
#[rustfmt::skip]
const MIDDLE: [f64; 19] = [
    2.2137376921775787e-09, 9.075656193888539e-08, -2.7517406297064545e-07, 1.823962921438923e-08,
    1.5027403968909828e-06, -4.013867526981546e-06, 2.9234449089955446e-06, 1.2475304481671779e-05,
    -4.7318229009055734e-05, 6.828485145957318e-05, 2.4031110387097894e-05, -0.0003550375203628475,
    0.0009532893797373805, -0.0016882755560235047, 0.002491442096107851, -0.003751208507569241,
    0.005370914553590064, 1.0052589676941592, 3.0838856104922208,
];
#[rustfmt::skip]
const TAIL: [f64; 17] = [
    -2.7109920616438573e-11, -2.555641816996525e-10, 1.5076572693500548e-09, -3.789465440126737e-09,
    7.61570120807834e-09, -1.496002662714924e-08, 2.914795345090108e-08, -6.771199775845234e-08,
    2.2900482228026655e-07, -9.9298272942317e-07, 4.526062597223154e-06, -1.968177810553167e-05,
    7.599527703001776e-05, -0.00021503011930044477, -0.00013871931833623122, 1.0103004648645344,
    4.849906401408584,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_and_probability_undo_each_other() {
        for p in [1e-12, 1e-9, 1e-6, 0.01, 0.2, 0.5, 0.8, 0.999] {
            let back = normal_probability(normal_quantile(p));
            // 2p − 1 is rounded to 2^-53, which is 2^-54 of p: that much is lost for small p.
            let lost = f64::EPSILON / p + 1e-13;
            assert!((back / p - 1.0).abs() < lost, "{p} came back as {back}");
        }
    }

    #[test]
    fn the_quantile_of_the_judge_is_the_recorded_one() {
        assert_eq!(normal_quantile((1.0 - 0.98) / 2.0), -2.326347874040841);
    }

    #[test]
    fn percentile_interpolates_as_r_type_7() {
        let value = percentile(&[3.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0], 5.0);
        assert!((value - 0.175).abs() < 1e-12);
    }

    #[test]
    fn an_infinite_quartile_excludes_nothing() {
        let fences = outlier_fences(&[1.0, f64::INFINITY, f64::INFINITY], 3.0, true);
        assert!(!fences.excludes(f64::INFINITY) && !fences.excludes(1.0));
    }
}
