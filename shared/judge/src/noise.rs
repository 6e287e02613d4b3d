//! The original's source of noise: `java.util.Random`, bit for bit.

/// A linear congruential generator with 48 bits of state, as specified for `java.util.Random`.
///
/// The original judge draws Gaussian noise when both series hold one distinct value each. The same seed gives the
/// same draws, so a compatible verdict can be repeated. Nothing here reads a clock: the seed is an argument.
#[derive(Debug, Clone)]
pub struct JavaRandom {
    state: u64,
    spare: Option<f64>,
}

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const STATE_MASK: u64 = (1 << 48) - 1;

impl JavaRandom {
    /// Starts the sequence that `new java.util.Random(seed)` starts.
    pub fn new(seed: i64) -> Self {
        Self {
            state: (seed as u64 ^ MULTIPLIER) & STATE_MASK,
            spare: None,
        }
    }

    fn next_bits(&mut self, bits: u32) -> u64 {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & STATE_MASK;
        self.state >> (48 - bits)
    }

    /// The next double in `[0, 1)`: 53 random bits, as `nextDouble`.
    pub fn next_double(&mut self) -> f64 {
        // 2^-53, exactly representable.
        const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
        let high = self.next_bits(26) << 27;
        (high + self.next_bits(27)) as f64 * UNIT
    }

    /// The next standard Gaussian, as `nextGaussian`: the polar method, which makes two and keeps one for the next call.
    pub fn next_gaussian(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let first = 2.0 * self.next_double() - 1.0;
            let second = 2.0 * self.next_double() - 1.0;
            let square = first * first + second * second;
            if square < 1.0 && square != 0.0 {
                // libm's logarithm is fdlibm's, which is what `StrictMath.log` is.
                let multiplier = (-2.0 * libm::log(square) / square).sqrt();
                self.spare = Some(second * multiplier);
                return first * multiplier;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_gaussian_of_seed_42_is_javas() {
        assert_eq!(JavaRandom::new(42).next_gaussian(), 1.1419053154730547);
    }
}
