//! Chance that can be repeated: a generator, its seed printed, and how long tests with chance in them may run.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From `REGATTA_SEED` where that is set, else from the time; printed, so that what failed can be run again.
    pub fn announced(test: &str) -> Self {
        let seed = std::env::var("REGATTA_SEED").ok().map(|text| text.parse().expect("REGATTA_SEED is a number"));
        let seed = seed.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::try_from(now.as_nanos() % 1_000_000_007).unwrap()
        });
        println!("{test}: REGATTA_SEED={seed}");
        Self::new(seed)
    }

    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(length).collect()
    }

    /// One that goes its own way, the same for the same seed.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// Whether there is time: `REGATTA_SOAK=1`.
pub fn is_soak() -> bool {
    std::env::var("REGATTA_SOAK").is_ok_and(|value| value == "1")
}

/// The first where there is little time, the second where there is much.
pub fn short_or_long<T>(short: T, long: T) -> T {
    if is_soak() { long } else { short }
}
