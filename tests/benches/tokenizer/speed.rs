//! How fast texts are cut, and that the time grows with the text and no faster.

use std::time::{Duration, Instant};

use anyhow::Result;
use sparkle_llm::Family;
use sparkle_tests::bench::{against, say};

use crate::{
    FAMILIES,
    texts::{self, Texts},
};

/// The longest text that is cut at all, and a short one.
const LONG_BYTES: usize = 128 * 1024;
const SHORT_BYTES: usize = 1024;
/// Time for each byte of a long text may be so many times that in short ones.
const GROWTH_MAX: f64 = 4.0;

/// Time for each byte of these texts, one after the other. The least of some runs: what else happens on the
/// machine only adds.
fn nanoseconds_per_byte(family: Family, texts: &[&str], runs: usize) -> f64 {
    let mut least = Duration::MAX;
    for _ in 0..runs {
        let began = Instant::now();
        for text in texts {
            std::hint::black_box(family.ids(std::hint::black_box(text)));
        }
        least = least.min(began.elapsed());
    }
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    least.as_secs_f64() * 1e9 / bytes as f64
}

/// A text in pieces of about 1 KB: the same one over and over would be what the processor knows by heart.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(SHORT_BYTES.min(rest.len())));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// So many bytes of prose, from messages of one language: first those that were not made of phrases.
fn prose(texts: &Texts, language: &str, bytes: usize) -> String {
    let mut prose = String::new();
    let messages: Vec<&str> = texts.of(language).collect();
    for text in messages.iter().rev().cycle() {
        if prose.len() >= bytes {
            break;
        }
        prose.push_str(text);
        prose.push('\n');
    }
    prose.truncate(prose.floor_char_boundary(bytes));
    prose
}

/// Prints MB/s of prose and code, and nanoseconds a byte of what is made to be slow.
pub(crate) fn measure(texts: &Texts, is_short: bool) -> Result<()> {
    let runs = if is_short { 2 } else { 7 };
    let mut code = texts::code();
    code.truncate(code.floor_char_boundary(LONG_BYTES));
    let usual = [
        ("English", prose(texts, "en", LONG_BYTES)),
        ("Chinese", prose(texts, "zh", LONG_BYTES)),
        ("code", code),
    ];
    for (name, family) in FAMILIES {
        say(&format!(
            "\nspeed of {name}: the least of {runs} runs\n  {:<34}{:>9}{:>11}{:>12}{:>12}",
            "", "MB/s", "ns/byte", "in 1 KB", "growth"
        ))?;
        for (title, text) in &usual {
            row(family, title, text, runs)?;
        }
        let (mut worst, mut steepest) = ((0.0, ""), (0.0, ""));
        for (title, text) in texts::hostile(LONG_BYTES) {
            let (long, growth) = row(family, title, &text, runs)?;
            if long > worst.0 {
                worst = (long, title);
            }
            if growth > steepest.0 {
                steepest = (growth, title);
            }
        }
        say(&format!(
            "          the slowest: {:.0} ns/byte, {:.0} ms for {} KiB ({})",
            worst.0,
            worst.0 * LONG_BYTES as f64 / 1e6,
            LONG_BYTES / 1024,
            worst.1
        ))?;
        against(
            &format!(
                "time grows as the text does: at most {GROWTH_MAX} × a byte's in pieces of 1 KB"
            ),
            &format!("{:.1} × ({})", steepest.0, steepest.1),
            steepest.0 <= GROWTH_MAX,
        )?;
    }
    Ok(())
}

/// Prints a row, and returns the nanoseconds of a byte, and how many times those of a short text they are.
fn row(family: Family, title: &str, text: &str, runs: usize) -> Result<(f64, f64)> {
    let is_cut = family.ids(text).is_some();
    let long = nanoseconds_per_byte(family, &[text], runs);
    let short = nanoseconds_per_byte(family, &pieces(text), runs);
    let remark = if is_cut {
        ""
    } else {
        "   refused by its pattern: counted by bytes"
    };
    say(&format!(
        "  {title:<34}{:>9.1}{long:>11.0}{short:>12.0}{:>10.1} ×{remark}",
        1e3 / long,
        long / short
    ))?;
    Ok((long, long / short))
}
