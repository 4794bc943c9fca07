//! Whether the time to the first text tells a learner that another one asked before (R-CACHE-8).

use std::time::Duration;

use anyhow::Result;
use sparkle_tests::bench::{against, percentile, say};

use crate::{
    draw::Novelty,
    figures::{Run, Seen, share},
    school::Level,
};

/// Twice the share that would be there if both were drawn from one distribution: with the hits of a short run
/// chance alone reaches it now and then.
const EARLY_MAX: f64 = 0.10;

/// Prints both.
pub(crate) fn show(run: &Run<'_>) -> Result<()> {
    let waits = |is_it: &dyn Fn(&Seen<'_>) -> bool| -> Vec<Duration> {
        let kept = run.seen().filter(|seen| is_it(seen));
        kept.map(|seen| seen.turn.first_delta).collect()
    };
    let fresh =
        waits(&|seen| seen.turn.level == Level::Fresh && seen.novelty != Novelty::NotCacheable);
    let others = waits(&|seen| seen.is_hit() && seen.origin.learner != seen.ask.learner);
    let own = waits(&|seen| seen.is_hit() && seen.origin.learner == seen.ask.learner);
    say("\nfrom sending to the first delta, answers shared (R-CACHE-8)")?;
    say(&format!(
        "  {:<40}{:>5}{:>9}{:>9}{:>9}",
        "milliseconds", "n", "p10", "p50", "p90"
    ))?;
    for (title, waits) in [
        ("fresh answers", &fresh),
        ("hits that another learner asked first", &others),
        ("hits that the learner asked first", &own),
    ] {
        let at = |percent| percentile(waits, percent).as_secs_f64() * 1_000.0;
        let n = waits.len();
        say(&format!(
            "  {title:<40}{n:>5}{:>9.1}{:>9.1}{:>9.1}",
            at(10),
            at(50),
            at(90)
        ))?;
    }
    if fresh.is_empty() || others.is_empty() {
        return say("  not measured: nobody was given what another asked first");
    }
    let earliest = percentile(&fresh, 5);
    let early = others.iter().filter(|wait| **wait < earliest).count();
    let early = share(early, others.len());
    against(
        "R-CACHE-8: others' hits before the 5th percentile of fresh ones",
        &format!("{:.1} %", 100.0 * early),
        early <= EARLY_MAX,
    )?;
    say(&format!(
        "  largest distance between the two distributions (Kolmogorov-Smirnov): {:.3}; one distribution\n\
         \x20 would stay under {:.3} in 95 of 100 runs",
        distance(&fresh, &others),
        critical(fresh.len(), others.len()),
    ))
}

/// The largest distance between the shares of both that are not above a time.
fn distance(one: &[Duration], other: &[Duration]) -> f64 {
    let until = |waits: &[Duration], time: Duration| {
        share(
            waits.iter().filter(|wait| **wait <= time).count(),
            waits.len(),
        )
    };
    let times = one.iter().chain(other);
    times
        .map(|time| (until(one, *time) - until(other, *time)).abs())
        .fold(0.0, f64::max)
}

/// Smirnov's approximation for large samples: 1.358 √((n + m) / nm) at 5 %.
fn critical(n: usize, m: usize) -> f64 {
    1.358 * share(n + m, n * m).sqrt()
}
