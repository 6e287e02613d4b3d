//! Brent's root search with the steps of R's `zeroin`, as the original judge takes them.

/// Absolute tolerance of the original's search.
pub const TOLERANCE: f64 = 1e-4;
/// The search gives up, keeping its last point, after this many steps: the original's 1,000 and one.
const MAX_STEPS: u32 = 1_001;

/// Finds where `f` crosses zero between `lower` and `upper`, given `f(lower)` and `f(upper)`.
///
/// The last point is returned when the steps run out, and also when there is no sign change at all: the original does
/// the same, and its answers can only be reproduced by the same steps. `tolerance` is absolute; [`TOLERANCE`] is the
/// original's. NaN anywhere ends in some point, possibly NaN, never in an endless loop.
pub fn root(
    lower: f64,
    upper: f64,
    f_lower: f64,
    f_upper: f64,
    tolerance: f64,
    mut f: impl FnMut(f64) -> f64,
) -> f64 {
    let (mut a, mut b) = (lower, upper);
    let (mut fa, mut fb) = (f_lower, f_upper);
    let (mut c, mut fc) = (a, fa);

    if is_zero(fa) {
        return a;
    }
    if is_zero(fb) {
        return b;
    }
    for _ in 0..MAX_STEPS {
        let previous_step = b - a;
        // INVARIANT: `b` is the best point so far, `c` lies on the other side of the root.
        if fc.abs() < fb.abs() {
            a = b;
            b = c;
            c = a;
            fa = fb;
            fb = fc;
            fc = fa;
        }
        let least_step = 2.0 * f64::EPSILON * b.abs() + tolerance / 2.0;
        let mut step = (c - b) / 2.0;
        if step.abs() <= least_step || is_zero(fb) {
            return b;
        }
        if previous_step.abs() >= least_step && fa.abs() > fb.abs() {
            let width = c - b;
            let (mut p, mut q);
            if a == c {
                let t1 = fb / fa;
                p = width * t1;
                q = 1.0 - t1;
            } else {
                q = fa / fc;
                let t1 = fb / fc;
                let t2 = fb / fa;
                p = t2 * (width * q * (q - t1) - (b - a) * (t1 - 1.0));
                q = (q - 1.0) * (t1 - 1.0) * (t2 - 1.0);
            }
            if p > 0.0 {
                q = -q;
            } else {
                p = -p;
            }
            if p < (0.75 * width * q - (least_step * q).abs() / 2.0)
                && p < (previous_step * q / 2.0).abs()
            {
                step = p / q;
            }
        }
        if step.abs() < least_step {
            step = if step > 0.0 { least_step } else { -least_step };
        }
        a = b;
        fa = fb;
        b += step;
        fb = f(b);
        if (fb > 0.0 && fc > 0.0) || (fb < 0.0 && fc < 0.0) {
            c = a;
            fc = fa;
        }
    }
    b
}

/// Whether a value is zero to one unit in the last place, the original's test for having hit the root.
fn is_zero(value: f64) -> bool {
    value.abs() <= f64::from_bits(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_root_of_a_square_within_the_tolerance() {
        let found = root(0.0, 2.0, -2.0, 2.0, TOLERANCE, |x| x * x - 2.0);
        assert!((found - std::f64::consts::SQRT_2).abs() < TOLERANCE);
    }

    #[test]
    fn ends_when_every_value_is_nan() {
        let found = root(0.0, 1.0, f64::NAN, f64::NAN, TOLERANCE, |_| f64::NAN);
        assert!(found.is_nan() || (0.0..=1.0).contains(&found));
    }
}
