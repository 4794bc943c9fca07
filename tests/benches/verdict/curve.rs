//! Wrong ones among the served, against the share of those that ask the same and are served.

use anyhow::Result;
use sparkle_core::cache::evidence::Evidence;
use sparkle_tests::bench::say;

/// Shares of the pairs that ask the same at which the ways are compared; 25 and 72 are those of a cosine of 0.98 on
/// qqp_en and on lcqmc_zh.
const SHARES: [f64; 8] = [0.10, 0.25, 0.40, 0.50, 0.60, 0.72, 0.80, 0.90];

/// A pair as each way sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scored {
    pub(crate) is_same: bool,
    /// Cosine, as caches elsewhere compare.
    pub(crate) plain: f64,
    /// Cosine, centred.
    pub(crate) centred: f64,
    /// The verdict's probability.
    pub(crate) verdict: f64,
    /// Whether it is served at the shipped setting.
    pub(crate) is_served: bool,
}

/// What comes of serving the surest.
#[derive(Debug)]
pub(crate) struct Curve<'a> {
    scored: &'a [Scored],
    same: usize,
}

impl<'a> Curve<'a> {
    pub(crate) fn of(scored: &'a [Scored]) -> Self {
        let same = scored.iter().filter(|scored| scored.is_same).count();
        Self { scored, same }
    }

    /// Served and wrong ones where a share of those that ask the same is served.
    fn at(&self, share: f64, score: impl Fn(&Scored) -> f64) -> Evidence {
        let mut of_same: Vec<f64> = self
            .scored
            .iter()
            .filter(|scored| scored.is_same)
            .map(&score)
            .collect();
        of_same.sort_by(|one, other| other.total_cmp(one));
        let wanted = (share * of_same.len() as f64).ceil() as usize;
        let least = of_same.get(wanted.saturating_sub(1)).copied();
        let least = least.unwrap_or(f64::INFINITY);
        let served = self.scored.iter().filter(|scored| score(scored) >= least);
        let (mut checked, mut wrong) = (0, 0);
        for scored in served {
            checked += 1;
            wrong += u64::from(!scored.is_same);
        }
        Evidence { checked, wrong }
    }

    pub(crate) fn print(&self, set: &str) -> Result<()> {
        say(&format!(
            "\n{set}: {} pairs, {} ask the same\n  same served | cosine wrong | centred wrong | verdict wrong (of served, at most with 95 %) | fewer than the best cosine",
            self.scored.len(),
            self.same
        ))?;
        for share in SHARES {
            let plain = self.at(share, |scored| scored.plain);
            let centred = self.at(share, |scored| scored.centred);
            let verdict = self.at(share, |scored| scored.verdict);
            let best = plain.wrong.min(centred.wrong) as f64;
            let of_served = verdict.wrong as f64 / verdict.checked.max(1) as f64;
            say(&format!(
                "  {:9.0} % | {:12} | {:13} | {:5} ({:4.1} % of {:4}, {:4.1} %) | {:.1} x",
                100.0 * share,
                plain.wrong,
                centred.wrong,
                verdict.wrong,
                100.0 * of_served,
                verdict.checked,
                100.0 * verdict.wrong_at_most(),
                best / (verdict.wrong as f64).max(1.0),
            ))?;
        }
        let served = self.scored.iter().filter(|scored| scored.is_served);
        let (mut checked, mut wrong) = (0, 0);
        for scored in served {
            checked += 1;
            wrong += u64::from(!scored.is_same);
        }
        let seen = Evidence { checked, wrong };
        say(&format!(
            "  shipped: {} of {} that ask the same are served ({:.1} %), {wrong} wrong of {checked} served (at most {:.1} % with 95 %)",
            checked - wrong,
            self.same,
            100.0 * (checked - wrong) as f64 / self.same.max(1) as f64,
            100.0 * seen.wrong_at_most(),
        ))
    }
}
