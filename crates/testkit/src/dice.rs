//! Numbers that look random and are the same for the same seed.

/// A source of such numbers (SplitMix64); the seed is its state.
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap_or_default() % bound
    }

    /// One of several; none of none.
    pub fn pick<'a, T>(&mut self, several: &'a [T]) -> Option<&'a T> {
        if several.is_empty() { None } else { several.get(self.below(several.len())) }
    }
}
