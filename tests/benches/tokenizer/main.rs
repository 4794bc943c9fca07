//! What counting tokens costs, and how good the counts are (M9).
//!
//!     cargo bench -p sparkle-tests --bench tokenizer
//!     cargo bench -p sparkle-tests --bench tokenizer -- --short    a fiftieth of the calls
//!
//! Of each family: what its vocabulary takes to load, in a process of its own (`load.rs`); how fast it cuts
//! prose, code and what is made to be slow (`speed.rs`); how far bound and count of random prompts are from
//! what OpenAI documents that it bills (`bound.rs`); and whether the ids are those of OpenAI's own tiktoken, if
//! `python3` has it (`oracle.rs`).

mod bound;
mod load;
mod oracle;
mod speed;
#[expect(
    dead_code,
    reason = "pauses and probes are for the benchmark of pruning"
)]
#[path = "../pruning/talk.rs"]
mod talk;
mod texts;

use anyhow::{Result, bail};
use sparkle_llm::Family;
use sparkle_tests::bench::{Profile, describe_machine, say};

const FAMILIES: [(&str, Family); 2] = [("o200k", Family::O200k), ("cl100k", Family::Cl100k)];

fn main() -> Result<()> {
    let mut is_short = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--short" => is_short = true,
            load::CHILD => return load::child(&arguments.next().unwrap_or_default()),
            other => bail!("{other} is not [--short]"),
        }
    }
    describe_machine(if cfg!(debug_assertions) {
        Profile::Debug
    } else {
        Profile::Release
    })?;
    let texts = texts::all()?;
    say(&format!(
        "texts        {} messages, {}; {}",
        texts.messages.len(),
        texts.languages(),
        texts.recorded
    ))?;
    load::measure()?;
    speed::measure(&texts, is_short)?;
    bound::measure(&texts, if is_short { 2_000 } else { 100_000 })?;
    oracle::measure(&texts)
}
