//! A small seeded generator, so that a run's choices can be repeated.

/// Marsaglia's xorshift64 with a multiplication on the way out.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Equal seeds give equal choices.
    pub(crate) fn new(seed: u64) -> Self {
        // Zero is the one state that never changes; neighbouring seeds must not give neighbouring streams.
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Evenly between 0 and `bound`, which is excluded; 0 for a bound of 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let high = (u128::from(self.next()) * u128::from(bound)) >> 64;
        u64::try_from(high).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_repeat_and_stay_below_the_bound() {
        let choices = |seed| {
            let mut random = Random::new(seed);
            (0..1000).map(|_| random.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
        for value in 0..10 {
            assert!(choices(7).contains(&value));
        }
        assert_eq!(Random::new(0).below(0), 0);
    }
}
