//! What is printed in the end.

use std::time::Duration;

use crate::{fault::Fault, part::Result, trace::Counts};

/// Prints everything; whether anything failed.
pub(crate) fn show(results: &[Result], took: Duration) -> bool {
    let mut counts = Counts::new();
    let (mut seeds, mut took_ms) = (0, 0);
    for result in results {
        for (what, by) in &result.counts {
            *counts.entry(what.clone()).or_default() += by;
        }
        if !result.counts.is_empty() {
            seeds += result.seeds;
            took_ms += result.took_ms;
        }
    }
    let failures: Vec<&String> = results.iter().flat_map(|result| &result.failures).collect();
    if seeds > 0 {
        runs(&mut counts, seeds, took_ms);
    }
    for note in results.iter().flat_map(|result| &result.notes) {
        println!("{note}");
    }
    for failure in failures.iter().take(40) {
        println!("FAILED {failure}");
    }
    if seeds > 0 {
        let word = if failures.is_empty() { "0" } else { "some" };
        println!("{word:>10} lost, doubled or reordered chunks");
    }
    println!("{} failures in {:.1} s", failures.len(), took.as_secs_f64());
    !failures.is_empty()
}

/// What happened in all runs, faults first.
fn runs(counts: &mut Counts, seeds: u64, took_ms: u64) {
    let mut take = |what: &str| counts.remove(what).unwrap_or_default();
    take("answered after ms");
    let hours = take("simulated ms") as f64 / 3_600_000.0;
    println!("{seeds:>10} seeds, {} ms each", took_ms / seeds);
    println!("{hours:>10.1} simulated hours");
    for what in [
        "turns",
        "chunks",
        "model calls",
        "cancels",
        "cuts",
        "resumes",
        "chats repeated",
    ] {
        println!("{:>10} {what}", take(what));
    }
    for fault in Fault::ALL.map(Fault::as_str) {
        println!("{:>10} faults: a call {fault}", take(fault));
    }
    let (logged, other): (Vec<_>, Vec<_>) = counts
        .iter()
        .partition(|(what, _)| what.starts_with("log: "));
    for (what, by) in other.into_iter().chain(logged) {
        println!("{by:>10} {what}");
    }
}
