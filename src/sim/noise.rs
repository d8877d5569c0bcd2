//! Chance that asks nobody twice: every draw is a function of the seed and of what it is for, so that the noise of a world
//! is the same whoever watches it, and however often.

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit of the input moves half of the output's.
fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A place in the stream of draws of one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noise(u64);

impl Noise {
    /// The stream of `seed`.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self(mixed(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)))
    }

    /// The place that is for `what` alone.
    #[must_use]
    pub fn at(self, what: u64) -> Self {
        Self(mixed(self.0.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_add(mixed(what))))
    }

    /// The draw of this place: evenly from 0 up to, not including, 1.
    #[must_use]
    pub fn even(self) -> f64 {
        // 53 bits are what a double holds exactly.
        (mixed(self.0) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The same, from `low` up to `high`.
    #[must_use]
    pub fn between(self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.even()
    }

    /// A whole number from `low` up to and including `high`.
    #[must_use]
    pub fn whole(self, low: u64, high: u64) -> u64 {
        low + mixed(self.0) % (high - low + 1)
    }

    /// Whether something of this probability happens.
    #[must_use]
    pub fn is(self, probability: f64) -> bool {
        self.even() < probability
    }

    /// A draw from the exponential distribution of this mean.
    #[must_use]
    pub fn waiting(self, mean: f64) -> f64 {
        -mean * (1.0 - self.even()).ln()
    }

    /// A draw from the normal distribution, mean 0 and standard deviation 1 (Box and Muller, 1958).
    #[must_use]
    pub fn normal(self) -> f64 {
        let radius = (-2.0 * (1.0 - self.at(0).even()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.at(1).even()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_as_distributed_as_they_say() {
        let draws = |of: fn(Noise) -> f64| -> (f64, f64) {
            let all: Vec<f64> = (0..20_000).map(|place| of(Noise::of(7).at(place))).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            (mean, (all.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt())
        };
        let close = |(mean, deviation): (f64, f64), expected: (f64, f64)| {
            assert!((mean - expected.0).abs() < 0.02 && (deviation - expected.1).abs() < 0.02, "{mean} {deviation}");
        };
        close(draws(Noise::even), (0.5, 12f64.sqrt().recip()));
        close(draws(Noise::normal), (0.0, 1.0));
        close(draws(|noise| noise.waiting(1.0)), (1.0, 1.0));
    }

    #[test]
    fn each_place_and_each_seed_has_its_own() {
        let first: Vec<u64> = (0..100).map(|place| Noise::of(1).at(place).whole(0, u64::MAX - 1)).collect();
        let mut all = first.clone();
        all.extend((0..100).map(|place| Noise::of(2).at(place).whole(0, u64::MAX - 1)));
        all.extend((0..100).map(|place| Noise::of(1).at(0).at(place).whole(0, u64::MAX - 1)));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 300);
        assert_eq!(first[5], Noise::of(1).at(5).whole(0, u64::MAX - 1), "the same again");
    }
}
