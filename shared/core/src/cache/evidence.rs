//! How often an answer that was served stood for another question, and whether that is known to be rare enough.
//!
//! The bound is on P(wrong | served), not on P(wrong): vCache bounds errors among all requests
//! (<https://arxiv.org/abs/2502.03771>), so that among the few that it serves many may be wrong.

#![expect(
    clippy::float_arithmetic,
    reason = "it is statistics; nothing here is money or tokens"
)]

/// What is known of answers that were served for another question's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Of how many it is known whether they were right.
    pub checked: u64,
    /// How many of them were wrong.
    pub wrong: u64,
}

/// How sure a bound is.
const CONFIDENCE: f64 = 0.95;
/// Halvings of the interval in which the bound lies: it is exact to a millionth.
const HALVINGS: u32 = 30;

impl Evidence {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            checked: self.checked.saturating_add(other.checked),
            wrong: self.wrong.saturating_add(other.wrong),
        }
    }

    /// The share of wrong ones that is not exceeded with 95 % confidence: the one-sided bound of Clopper and
    /// Pearson (1934). 1 where nothing was checked. Takes time in proportion to the wrong ones.
    pub fn wrong_at_most(self) -> f64 {
        if self.checked <= self.wrong {
            return 1.0;
        }
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if self.so_few(middle) > 1.0 - CONFIDENCE {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }

    /// How likely it is to see no more wrong ones, if their share is `share`.
    fn so_few(self, share: f64) -> f64 {
        let (checked, odds) = (exact(self.checked), share.ln() - (-share).ln_1p());
        // In logarithms: the first term alone may be less than a float can hold.
        let mut term = checked * (-share).ln_1p();
        let mut sum = term.exp();
        for wrong in 1..=self.wrong {
            let wrong = exact(wrong);
            term += odds + ((checked - wrong + 1.0) / wrong).ln();
            sum += term.exp();
        }
        sum
    }
}

/// Exact up to 2^53, which no count reaches.
#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "counts are far below 2^53"
)]
fn exact(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bound(wrong: u64, checked: u64) -> f64 {
        Evidence { checked, wrong }.wrong_at_most()
    }

    #[test]
    fn bounds_are_those_of_the_tables() {
        // scipy 1.16: scipy.stats.beta.ppf(0.95, wrong + 1, checked - wrong).
        for (wrong, checked, expected) in [
            (0, 1, 0.95),
            (0, 299, 0.009_969),
            (1, 100, 0.046_560),
            (3, 1_000, 0.007_735),
            (40, 2_000, 0.025_956),
            (1_000, 100_000, 0.010_533),
        ] {
            let found = bound(wrong, checked);
            assert!(
                (found - expected).abs() < 2e-5,
                "{wrong}/{checked}: {found}"
            );
        }
        assert!(bound(0, 0) >= 1.0);
        assert!(bound(5, 5) >= 1.0);
    }

    proptest! {
        #[test]
        fn more_wrong_ones_raise_the_bound_and_more_right_ones_lower_it(
            wrong in 0_u64..200,
            right in 1_u64..5_000,
        ) {
            let checked = wrong + right;
            let now = bound(wrong, checked);
            prop_assert!(bound(wrong + 1, checked + 1) > now);
            prop_assert!(bound(wrong, checked + 1) < now);
        }
    }
}
