//! How far the bound and the exact count of a prompt are from what it is billed as.
//!
//! What it is billed as is computed here, from OpenAI's cookbook ("How to count tokens with tiktoken", read
//! 2026-11), for prompts without tools, of which it says nothing: three tokens and the role around each
//! message, three that prime the answer, and the ids of the texts.

use std::{collections::BTreeMap, thread};

use anyhow::{Result, anyhow};
use fastrand::Rng;
use sparkle_core::{chat, profile::Style, summary};
use sparkle_llm::{Counter, Family, Message, Prompt};
use sparkle_tests::bench::{against, say};

use crate::{
    FAMILIES,
    texts::{self, Texts},
};

const THREADS: u64 = 2;
const HISTORY_MAX: usize = 10;
const ROLES: [&str; 5] = ["", "coach", "数学老师", "native speaker", "examiner"];
/// M9.
const OVERSHOOT_PERCENT: f64 = 15.0;

/// What came of the calls in one language.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    calls: u64,
    billed: u64,
    under: [u64; 2],
    /// Sum over the calls, in percent of what was billed: by the bound, and by the exact count.
    over_percent: [f64; 2],
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.billed += other.billed;
        for way in 0..2 {
            self.under[way] += other.under[way];
            self.over_percent[way] += other.over_percent[way];
        }
    }

    fn average(&self, way: usize) -> f64 {
        self.over_percent[way] / self.calls as f64
    }
}

/// Counts so many random prompts by each family and prints how far off the counts were.
pub(crate) fn measure(texts: &Texts, calls: u64) -> Result<()> {
    let hostile: Vec<String> = texts::hostile(2_000).into_iter().map(|(_, t)| t).collect();
    for (name, family) in FAMILIES {
        let tallies = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let seeds = (thread..calls).step_by(THREADS as usize);
                    let hostile = &hostile;
                    scope.spawn(move || tally(family, seeds, texts, hostile))
                })
                .collect();
            let ended = threads.into_iter().map(|thread| {
                let ended = thread.join();
                ended.map_err(|_panic| anyhow!("a thread panicked"))?
            });
            ended.collect::<Result<Vec<_>>>()
        })?;
        let mut by_language: BTreeMap<&str, Tally> = BTreeMap::new();
        for (language, tally) in tallies.into_iter().flatten() {
            by_language.entry(language).or_default().add(tally);
        }
        print(name, calls, &by_language)?;
    }
    say(
        "          bytes are far above the count, and are all that is asked where a prompt fits by them; the exact\n          \
         count is made only where it does not (docs/adr/0009)",
    )
}

fn print(name: &str, calls: u64, by_language: &BTreeMap<&str, Tally>) -> Result<()> {
    let mut all = Tally::default();
    say(&format!(
        "\nbound of {name}: {calls} random prompts: instructions, a summary in a fifth, up to {HISTORY_MAX} messages of \
         history, a question; a twentieth with a hostile text\n  {:<12}{:>9}{:>16}{:>14}{:>14}",
        "language", "calls", "tokens a call", "bytes over", "exact over"
    ))?;
    for (language, tally) in by_language {
        all.add(*tally);
        say(&format!(
            "  {language:<12}{:>9}{:>16.0}{:>12.1} %{:>12.2} %",
            tally.calls,
            tally.billed as f64 / tally.calls as f64,
            tally.average(0),
            tally.average(1)
        ))?;
    }
    for (way, title) in ["the bound by bytes", "the exact count"]
        .into_iter()
        .enumerate()
    {
        against(
            &format!("M9: 0 underestimates by {title}"),
            &all.under[way].to_string(),
            all.under[way] == 0,
        )?;
        let over = all.average(way);
        against(
            &format!("M9: at most 15 % over on average by {title}"),
            &format!("{over:.2} %"),
            over <= OVERSHOOT_PERCENT,
        )?;
    }
    Ok(())
}

fn tally(
    family: Family,
    seeds: impl Iterator<Item = u64>,
    texts: &Texts,
    hostile: &[String],
) -> Result<BTreeMap<&'static str, Tally>> {
    let by_language = ["zh", "en"].map(|language| {
        let messages: Vec<&str> = texts.of(language).collect();
        (language, messages)
    });
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for seed in seeds {
        let mut rng = Rng::with_seed(seed);
        let (language, messages) = &by_language[rng.usize(..2)];
        let prompt = prompt(language, messages, hostile, &mut rng);
        let billed = billed(family, &prompt)?;
        let said = [
            Counter::bound(&prompt),
            Counter::Exact(family).count(&prompt),
        ];
        let tally = tallies.entry(language).or_default();
        tally.calls += 1;
        tally.billed += u64::from(billed);
        for (way, said) in said.into_iter().enumerate() {
            tally.under[way] += u64::from(said < billed);
            let over = f64::from(said) - f64::from(billed);
            tally.over_percent[way] += 100.0 * over / f64::from(billed);
        }
    }
    Ok(tallies)
}

fn prompt(language: &str, messages: &[&str], hostile: &[String], rng: &mut Rng) -> Prompt {
    let one = |rng: &mut Rng| piece(messages[rng.usize(..messages.len())], rng).to_owned();
    let role = ROLES[rng.usize(..ROLES.len())];
    let mut said = vec![Message::system(chat::instructions(
        &Style::default().asked(language, role),
        None,
    ))];
    if rng.usize(..5) == 0 {
        let notes: Vec<String> = (0..4).map(|_| one(rng)).collect();
        said.push(Message::system(summary::recalled(&notes.join(" "))));
    }
    for turn in 0..rng.usize(..=HISTORY_MAX) {
        said.push(match turn % 2 {
            0 => Message::user(one(rng)),
            _ => Message::assistant(one(rng)),
        });
    }
    let question = if rng.usize(..20) == 0 {
        piece(&hostile[rng.usize(..hostile.len())], rng).to_owned()
    } else {
        one(rng)
    };
    said.push(Message::user(question));
    Prompt::new("m", said, 1)
}

/// A text, or in half of the cases a part of it.
fn piece<'a>(text: &'a str, rng: &mut Rng) -> &'a str {
    if rng.bool() {
        return text;
    }
    let first = text.floor_char_boundary(rng.usize(..=text.len()));
    let last = text.floor_char_boundary(rng.usize(first..=text.len()));
    text.get(first..last).unwrap_or(text)
}

fn billed(family: Family, prompt: &Prompt) -> Result<u32> {
    let cut = |text: &str| {
        let ids = family.ids(text);
        let ids = ids.ok_or_else(|| anyhow!("a text cannot be cut"))?;
        anyhow::Ok(u32::try_from(ids.len())?)
    };
    let mut tokens = 3;
    for message in &prompt.messages {
        let role = serde_json::to_value(message.role)?;
        tokens += 3 + cut(role.as_str().unwrap_or_default())? + cut(&message.text)?;
    }
    Ok(tokens)
}
