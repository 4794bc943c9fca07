//! What it takes to load a vocabulary: time and resident memory of a process that does nothing else.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use sparkle_tests::bench::{percentile, say};

use crate::FAMILIES;

/// Has this program be such a process.
pub(crate) const CHILD: &str = "--load";
const CHILDREN: usize = 5;

/// Loads a vocabulary, and prints microseconds and the kilobytes that it has become larger by.
pub(crate) fn child(name: &str) -> Result<()> {
    let family = FAMILIES.iter().find(|(known, _)| *known == name);
    let (_, family) = family.context("a family")?;
    let before = resident_kb()?;
    let began = Instant::now();
    ensure!(family.ids("a").is_some(), "no vocabulary");
    let took = began.elapsed();
    say(&format!("{} {before} {}", took.as_micros(), resident_kb()?))
}

fn resident_kb() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("this is not Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse()?)
}

/// Prints the median of some processes for each family.
pub(crate) fn measure() -> Result<()> {
    say(&format!(
        "\nload: first count in a fresh process, median of {CHILDREN}\n  {:<10}{:>9}{:>20}{:>9}",
        "family", "ms", "resident MB before", "after"
    ))?;
    for (name, _) in FAMILIES {
        let (mut took, mut sizes) = (Vec::new(), (0, 0));
        for _ in 0..CHILDREN {
            let mut child = Command::new(std::env::current_exe()?);
            let output = child.args([CHILD, name]).output()?;
            ensure!(output.status.success(), "a child failed");
            let said = String::from_utf8(output.stdout)?;
            let figures = said.split_whitespace().map(str::parse);
            let figures = figures.collect::<Result<Vec<u64>, _>>()?;
            let [us, before, after] = figures[..] else {
                anyhow::bail!("a child said {said:?}");
            };
            took.push(Duration::from_micros(us));
            sizes = (before, after);
        }
        let mb = |kb: u64| kb as f64 / 1_024.0;
        say(&format!(
            "  {name:<10}{:>9.0}{:>20.1}{:>9.1}",
            percentile(&took, 50).as_secs_f64() * 1_000.0,
            mb(sizes.0),
            mb(sizes.1)
        ))?;
    }
    Ok(())
}
