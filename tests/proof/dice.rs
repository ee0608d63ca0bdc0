//! Choices that a seed repeats.

use std::time::Duration;

/// SplitMix64: small, and good enough to choose faults.
pub struct Dice(u64);

impl Dice {
    /// The same seed and place give the same choices.
    pub fn new(seed: u64, place: u64) -> Dice {
        let mut dice = Dice(seed ^ place.wrapping_mul(0xd134_2543_de82_ef95));
        dice.roll();
        dice
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }

    pub fn percent(&mut self, chance: u32) -> bool {
        self.below(100) < chance as usize
    }

    pub fn one_of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// One of these, by weight.
    pub fn weighed<'a, T>(&mut self, from: &'a [T], weight: impl Fn(&T) -> u32) -> &'a T {
        let mut left = self.below(from.iter().map(|one| weight(one) as usize).sum());
        for one in from {
            match left.checked_sub(weight(one) as usize) {
                None => return one,
                Some(rest) => left = rest,
            }
        }
        unreachable!("the rest is below the sum of the weights")
    }

    /// Short spans as often as long ones, whatever their ratio.
    pub fn span(&mut self, from: Duration, to: Duration) -> Duration {
        let share = self.below(1001) as f64 / 1000.0;
        from.mul_f64((to.as_secs_f64() / from.as_secs_f64()).powf(share))
    }
}
