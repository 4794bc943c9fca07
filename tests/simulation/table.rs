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
        let hours = counts.remove("simulated ms").unwrap_or_default() / 3_600_000;
        println!("{seeds:>12} seeds, {} ms each", took_ms / seeds);
        println!("{hours:>12} simulated hours");
        let faults = Fault::ALL.map(Fault::as_str);
        for (what, by) in &counts {
            let kind = if faults.contains(&what.as_str()) {
                "calls "
            } else {
                ""
            };
            println!("{by:>12} {kind}{what}");
        }
    }
    for note in results.iter().flat_map(|result| &result.notes) {
        println!("{note}");
    }
    for failure in failures.iter().take(40) {
        println!("FAILED {failure}");
    }
    println!("{} failures in {:.1} s", failures.len(), took.as_secs_f64());
    !failures.is_empty()
}
