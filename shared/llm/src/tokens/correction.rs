//! What providers teach about our counts.

/// One: greater than any count, so that what is rounded down here and up in use comes out even.
const SCALE: u64 = 1 << 32;
/// A lesson that says less takes this share of the difference.
const DECAY: u64 = 64;
/// What [`Correction::estimate`] adds: a quarter.
const SPARE: u64 = 4;

/// By how much a provider's bills differ from our counts of the same prompts.
///
/// It rises at once to what was billed and falls slowly, by a sixty-fourth of the difference with each bill
/// that is lower. One for each model; pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// Billed for a counted token, in parts of [`SCALE`].
    billed: Option<u64>,
}

impl Default for Correction {
    fn default() -> Self {
        Self::new()
    }
}

impl Correction {
    /// Of a provider that has billed nothing yet.
    pub const fn new() -> Self {
        Self { billed: None }
    }

    /// Learns from a bill. What was not counted teaches nothing.
    pub fn learn(&mut self, counted_tokens: u32, billed_tokens: u32) {
        if counted_tokens == 0 || billed_tokens == 0 {
            return;
        }
        let said = u64::from(billed_tokens) * SCALE / u64::from(counted_tokens);
        self.billed = Some(match self.billed {
            Some(known) if said < known => known - (known - said) / DECAY,
            _ => said,
        });
    }

    /// A count for a hold: raised if the provider bills more than is counted, never lowered.
    pub fn raised(&self, counted_tokens: u32) -> u32 {
        let factor = self.billed.unwrap_or(SCALE).max(SCALE);
        scaled(counted_tokens, factor)
    }

    /// What a prompt of so many bytes probably has, with a quarter to spare; at least half of its bound, so
    /// that a text of another kind than those before is not far off. For pruning only: a hold may not rest
    /// on it.
    pub fn estimate(&self, bound_tokens: u32) -> u32 {
        let Some(billed) = self.billed else {
            return bound_tokens;
        };
        let spared = billed.saturating_add(billed / SPARE);
        scaled(bound_tokens, spared.clamp(SCALE / 2, SCALE))
    }
}

fn scaled(tokens: u32, factor: u64) -> u32 {
    let scaled = (u128::from(tokens) * u128::from(factor)).div_ceil(u128::from(SCALE));
    u32::try_from(scaled).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taught(lessons: &[(u32, u32)]) -> Correction {
        let mut correction = Correction::new();
        for &(counted, billed) in lessons {
            correction.learn(counted, billed);
        }
        correction
    }

    #[test]
    fn it_rises_at_once_and_falls_slowly() {
        let mut correction = taught(&[(1_000, 1_000), (1_000, 1_100)]);
        assert_eq!(correction.raised(1_000), 1_100);
        correction.learn(1_000, 1_000);
        assert!((1_098..1_100).contains(&correction.raised(1_000)));
        for _ in 0..1_000 {
            correction.learn(1_000, 1_000);
        }
        assert!(correction.raised(1_000) <= 1_001);
    }

    #[test]
    fn bytes_are_pruned_by_what_they_turned_out_to_be() {
        assert_eq!(Correction::new().estimate(1_000), 1_000);
        assert_eq!(taught(&[(1_000, 600)]).estimate(1_000), 750);
        assert_eq!(taught(&[(1_000, 250)]).estimate(1_000), 500);
        assert_eq!(taught(&[(1_000, 250)]).raised(1_000), 1_000);
    }

    proptest! {
        #[test]
        fn what_was_billed_once_is_held_the_next_time(
            lessons in prop::collection::vec((1..200_000_u32, 1..400_000_u32), 0..20),
            counted in 1..200_000_u32, billed in 1..400_000_u32,
        ) {
            let mut correction = taught(&lessons);
            correction.learn(counted, billed);
            prop_assert!(correction.raised(counted) >= billed);
        }

        #[test]
        fn a_hold_is_never_below_the_count_and_an_estimate_never_above_the_bound(
            lessons in prop::collection::vec((0..200_000_u32, 0..400_000_u32), 0..20), tokens: u32,
        ) {
            let correction = taught(&lessons);
            prop_assert!(correction.raised(tokens) >= tokens);
            let estimate = correction.estimate(tokens);
            prop_assert!(estimate <= tokens && estimate >= tokens / 2);
        }

        #[test]
        fn a_steady_provider_is_known_exactly(counted in 1..100_000_u32, parts in 10..400_u32) {
            let billed = (u64::from(counted) * u64::from(parts)).div_ceil(100);
            let billed = u32::try_from(billed).unwrap();
            let correction = taught(&vec![(counted, billed); 500]);
            prop_assert_eq!(correction.raised(counted), billed.max(counted));
        }
    }
}
