//! What pruning saves, in tokens and in money, and that it breaks nothing (M10, R-CTX-2, R-CTX-4).
//!
//!     cargo bench -p sparkle-tests --bench pruning
//!
//! Conversations of 30 and of 100 turns, generated (`talk.rs`), and recorded ones where there are any, go
//! through the real pruner turn by turn (`run.rs`), beside the whole history and a plain window of the last ten
//! messages. Prompts are priced as providers with a prompt cache do: what the prompt begins with in common
//! with the one before it, in blocks of 128 tokens from 1,024 on, unless that was too long ago. A summary is
//! paid for too: what it is made of, and the notes.
//!
//! No model is asked. Notes have an assumed length, and are there before the next turn.

mod run;
mod talk;
mod tools;

use std::rc::Rc;

use anyhow::{Context, Result};
use sparkle_core::{
    context::{Settings, Step},
    price::{Catalogue, Model},
    unit::{Timestamp, TokenUsage},
};
use sparkle_tests::bench::{Profile, against, describe_machine, say};

use run::{Call, Found, Spoken, Trace, Way};
use talk::{Length, Talk};

/// Generated conversations of each length and language.
const EACH: usize = 20;
/// What is cached is forgotten after 5 to 10 minutes in which nobody asked for it (OpenAI's page on prompt
/// caching, read 2026-11): the shorter.
const CACHE_IDLE_S: u64 = 300;
/// The same page.
const CACHED_FROM_TOKENS: u32 = 1_024;
const CACHE_BLOCK_TOKENS: u32 = 128;
/// 2026-11-01: prices of that day.
const PRICED_AT_MS: i64 = 1_793_491_200_000;
/// M10.
const LESS_TOKENS_PERCENT: f64 = 50.0;
const OF_PLAIN_MONEY: f64 = 0.6;

/// A model that answers, as it is priced.
struct Priced {
    title: String,
    model: Model,
    is_cached: bool,
}

/// A row of the tables: a way, and which model writes its summaries.
struct Row {
    title: &'static str,
    way: fn(Step) -> Way,
    has_steps: bool,
    /// None where there are no summaries.
    writer: Option<Writer>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    Answering,
    Mini,
}

const ROWS: [Row; 6] = [
    Row {
        title: "whole history",
        way: |_| Way::Whole,
        has_steps: false,
        writer: None,
    },
    Row {
        title: "plain window of the last 10 messages",
        way: |_| Way::Plain,
        has_steps: false,
        writer: None,
    },
    Row {
        title: "Sparkle, summaries by the answering model",
        way: Way::Summaries,
        has_steps: true,
        writer: Some(Writer::Answering),
    },
    Row {
        title: "Sparkle, summaries by gpt-4o-mini",
        way: Way::Summaries,
        has_steps: true,
        writer: Some(Writer::Mini),
    },
    Row {
        title: "Sparkle without summaries, in steps",
        way: Way::Steps,
        has_steps: true,
        writer: None,
    },
    Row {
        title: "  the same, step of one turn (no hysteresis)",
        way: Way::Steps,
        has_steps: false,
        writer: None,
    },
];

fn main() -> Result<()> {
    describe_machine(if cfg!(debug_assertions) {
        Profile::Debug
    } else {
        Profile::Release
    })?;
    let priced = prices()?;
    describe_settings(&priced)?;
    for length in [Length::Short, Length::Long] {
        for turns in [30, 100] {
            let talks = talk::generated(EACH, turns, length)?;
            let title = format!("generated, {length:?} answers, {turns} turns").to_lowercase();
            measure(&title, &talks, &priced, Target::Held)?;
        }
    }
    match talk::recorded()? {
        Some(talks) => {
            let (long, short): (Vec<_>, Vec<_>) =
                talks.into_iter().partition(|talk| talk.turns.len() >= 30);
            measure("recorded, 30 turns and more", &long, &priced, Target::Held)?;
            measure("recorded, shorter ones", &short, &priced, Target::None)?;
        }
        None => say(&format!(
            "\nrecorded conversations: none, since there is no {} (SPARKLE_EVAL_DATA names the folder)",
            talk::recorded_path().display()
        ))?,
    }
    let models: Vec<Model> = priced.into_iter().map(|priced| priced.model).collect();
    tools::measure(&models)
}

/// Models of the price list, and one of them at prices that it does not have.
fn prices() -> Result<Vec<Priced>> {
    let catalogue = Catalogue::offering("")?;
    let at = |id: &str| catalogue.any(id).at(Timestamp::from_unix_ms(PRICED_AT_MS));
    let mut priced = Vec::new();
    for id in ["gpt-4o-mini", "gpt-4o", "gpt-4.1-mini", "gpt-4.1"] {
        let model = at(id);
        priced.push(Priced {
            title: format!("{id} {} %", model.cached_input * 100 / model.input),
            model,
            is_cached: true,
        });
    }
    let listed = at("gpt-4.1");
    let cached_input = listed.input / 10;
    priced.push(Priced {
        title: "gpt-4.1 if 10 %".to_owned(),
        model: Model {
            cached_input,
            ..listed.clone()
        },
        is_cached: true,
    });
    let cached_input = listed.input;
    priced.push(Priced {
        title: "gpt-4.1 uncached".to_owned(),
        model: Model {
            cached_input,
            ..listed
        },
        is_cached: false,
    });
    Ok(priced)
}

fn describe_settings(priced: &[Priced]) -> Result<()> {
    let settings = Settings::default();
    let Settings {
        whole,
        summary_over,
        least,
        ..
    } = settings;
    let steps = priced.iter().map(|priced| {
        let turns = Step::cheapest(&priced.model, &settings).messages() / 2;
        format!("{} {turns}", priced.title)
    });
    say(&format!(
        "settings     whole up to {whole} messages, then the last {least} to {whole}; summaries over {summary_over}; \
         they live 1 h\n\
         steps        in turns: {}\n\
         tokens       o200k, instructions and what is around messages included\n\
         notes        a {}th of what they stand for, {} to {} tokens (assumed); there before the next turn\n\
         cache        the beginning in common with the prompt before, from {CACHED_FROM_TOKENS} tokens on, in blocks of \
         {CACHE_BLOCK_TOKENS}, for {} min\n\
         pace         90 % of questions within 2 min, 8 % within 8 min, 2 % after 20 to 90 min (assumed)\n\
         money        prompts of the answering model, prompts and notes of summaries; dollars per million \
         conversations",
        steps.collect::<Vec<_>>().join(", "),
        run::NOTES_TIMES_SHORTER,
        run::NOTES_TOKENS_MIN,
        run::SUMMARY_TOKENS_MAX,
        CACHE_IDLE_S / 60,
    ))
}

/// Conversations, and what came of each way of pruning them. Every model in the list takes more than any of
/// these prompts, so that only its prices matter, by the step.
struct Held<'a> {
    spoken: Vec<Spoken<'a>>,
    traced: Vec<(Way, Rc<Vec<Trace>>)>,
}

impl Held<'_> {
    fn traces(&mut self, way: Way, model: &Model) -> Result<Rc<Vec<Trace>>> {
        if let Some((_, traces)) = self.traced.iter().find(|(traced, _)| *traced == way) {
            return Ok(Rc::clone(traces));
        }
        let traces = self.spoken.iter().map(|spoken| spoken.trace(way, model));
        let traces = Rc::new(traces.collect::<Result<_>>()?);
        self.traced.push((way, Rc::clone(&traces)));
        Ok(traces)
    }
}

/// All traces of one row at one model's prices.
struct Outcome {
    traces: Rc<Vec<Trace>>,
    dollars: f64,
    answer_dollars: f64,
}

impl Outcome {
    fn new(held: &mut Held<'_>, row: &Row, priced: &Priced, mini: &Model) -> Result<Self> {
        let settings = Settings::default();
        let Model { input, .. } = priced.model;
        // Where cached tokens cost the same as others, the cheapest step is one turn.
        let unmoved = Model {
            cached_input: input,
            ..priced.model.clone()
        };
        let stepped = if row.has_steps {
            &priced.model
        } else {
            &unmoved
        };
        let way = (row.way)(Step::cheapest(stepped, &settings));
        let traces = held.traces(way, &priced.model)?;
        let writer = match row.writer {
            Some(Writer::Mini) => mini,
            _ => &priced.model,
        };
        let (mut micros, mut answers) = (0, 0);
        for trace in &*traces {
            for call in &trace.calls {
                let prompt = usage(call.prompt_tokens, cached_tokens(call), 0);
                micros += priced.model.cost(prompt).get();
                answers += priced.model.cost(usage(0, 0, call.answer_tokens)).get();
            }
            for writing in &trace.writings {
                // Its prompt begins anew after fewer tokens than anybody caches.
                let usage = usage(writing.prompt_tokens, 0, writing.notes_tokens);
                micros += writer.cost(usage).get();
            }
        }
        // Micro-dollars of one are dollars of a million.
        let each = |micros: u64| micros as f64 / traces.len() as f64;
        Ok(Self {
            dollars: each(micros),
            answer_dollars: each(answers),
            traces,
        })
    }

    /// Tokens of a conversation's prompts, and of what its summaries take beside them.
    fn tokens(&self) -> (f64, f64) {
        let calls = self.traces.iter().flat_map(|trace| &trace.calls);
        let prompts: u64 = calls.map(|call| u64::from(call.prompt_tokens)).sum();
        let writings = self.traces.iter().flat_map(|trace| &trace.writings);
        let writings = writings.map(|writing| writing.prompt_tokens + writing.notes_tokens);
        let written: u64 = writings.map(u64::from).sum();
        let each = |tokens: u64| tokens as f64 / self.traces.len() as f64;
        (each(prompts), each(written))
    }

    fn cached_percent(&self) -> f64 {
        let calls = self.traces.iter().flat_map(|trace| &trace.calls);
        let cached: u64 = calls.map(|call| u64::from(cached_tokens(call))).sum();
        let prompts = self.tokens().0 * self.traces.len() as f64;
        100.0 * cached as f64 / prompts
    }
}

fn usage(prompt_tokens: u32, cached_tokens: u32, completion_tokens: u32) -> TokenUsage {
    TokenUsage {
        prompt_tokens,
        cached_tokens,
        completion_tokens,
    }
}

fn cached_tokens(call: &Call) -> u32 {
    let is_kept = call.after_s <= CACHE_IDLE_S && call.repeated_tokens >= CACHED_FROM_TOKENS;
    if is_kept {
        call.repeated_tokens / CACHE_BLOCK_TOKENS * CACHE_BLOCK_TOKENS
    } else {
        0
    }
}

/// Whether conversations are such as targets are about: of 30 turns and more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Held,
    None,
}

/// Prints everything of one set of conversations.
fn measure(title: &str, talks: &[Talk], priced: &[Priced], target: Target) -> Result<()> {
    let spoken = talks.iter().map(Spoken::new).collect::<Result<Vec<_>>>()?;
    let turns: usize = talks.iter().map(|talk| talk.turns.len()).sum();
    let chinese = talks.iter().filter(|talk| talk.language == "zh").count();
    let said: u64 = spoken.iter().map(Spoken::tokens).sum();
    say(&format!(
        "\n{title}: {} conversations ({chinese} zh), {:.0} turns and {:.0} tokens a turn on average",
        talks.len(),
        turns as f64 / talks.len() as f64,
        said as f64 / turns as f64
    ))?;
    let mini = &priced.first().context("a price")?.model;
    let traced = Vec::new();
    let mut held = Held { spoken, traced };
    // By row, then by price.
    let mut outcomes = Vec::new();
    for row in &ROWS {
        let of_row = priced
            .iter()
            .map(|priced| Outcome::new(&mut held, row, priced, mini));
        outcomes.push(of_row.collect::<Result<Vec<_>>>()?);
    }
    tokens(&outcomes, priced)?;
    money(&outcomes, priced)?;
    if target == Target::Held {
        verdicts(&outcomes, priced)?;
    }
    probes(&outcomes)
}

/// Prints a conversation's tokens at the first price that has the longest steps.
fn tokens(outcomes: &[Vec<Outcome>], priced: &[Priced]) -> Result<()> {
    let shown = longest_steps(priced)?;
    say(&format!(
        "  {:<46}{:>10}{:>11}{:>8}{:>8}{:>8}   at the steps of {}",
        "tokens a conversation",
        "prompts",
        "summaries",
        "saved",
        "in all",
        "cached",
        priced[shown].title
    ))?;
    let whole = outcomes[0][shown].tokens().0;
    for (row, of_row) in ROWS.iter().zip(outcomes) {
        if row.writer == Some(Writer::Mini) {
            continue;
        }
        let (prompts, written) = of_row[shown].tokens();
        say(&format!(
            "  {:<46}{prompts:>10.0}{written:>11.0}{:>6.1} %{:>6.1} %{:>6.1} %",
            row.title,
            saved(prompts, whole),
            saved(prompts + written, whole),
            of_row[shown].cached_percent()
        ))?;
    }
    Ok(())
}

fn longest_steps(priced: &[Priced]) -> Result<usize> {
    let step = |priced: &Priced| Step::cheapest(&priced.model, &Settings::default()).messages();
    let longest = priced.iter().map(step).max();
    let place = priced
        .iter()
        .position(|priced| Some(step(priced)) == longest);
    place.context("a price")
}

fn saved(ours: f64, theirs: f64) -> f64 {
    100.0 - 100.0 * ours / theirs
}

/// Prints dollars, and their ratio to those of the plain window.
fn money(outcomes: &[Vec<Outcome>], priced: &[Priced]) -> Result<()> {
    let titles = priced.iter().map(|priced| format!("{:>18}", priced.title));
    say(&format!(
        "  {:<46}{}",
        "dollars per 1M (× the plain window)",
        titles.collect::<String>()
    ))?;
    for (row, of_row) in ROWS.iter().zip(outcomes) {
        let cells = of_row.iter().zip(&outcomes[1]).map(|(ours, plain)| {
            format!(
                "{:>10.0} ({:>4.2}×)",
                ours.dollars,
                ours.dollars / plain.dollars
            )
        });
        say(&format!("  {:<46}{}", row.title, cells.collect::<String>()))?;
    }
    let answers = outcomes[1].iter();
    let answers = answers.map(|plain| format!("{:>10.0}        ", plain.answer_dollars));
    say(&format!(
        "  {:<46}{}",
        "the answers, the same for all, not in it",
        answers.collect::<String>()
    ))
}

/// Prints what is held against M10: tokens at the steps that save the least, money at all cached prices.
fn verdicts(outcomes: &[Vec<Outcome>], priced: &[Priced]) -> Result<()> {
    let ours = || ROWS.iter().zip(outcomes).filter(|(row, _)| row.has_steps);
    for (row, of_row) in ours().filter(|(row, _)| row.writer != Some(Writer::Mini)) {
        let least = |of: fn((f64, f64)) -> f64| {
            let both = of_row.iter().zip(&outcomes[0]);
            let saved = both.map(|(ours, whole)| saved(of(ours.tokens()), whole.tokens().0));
            saved.fold(f64::MAX, f64::min)
        };
        let prompts = least(|(prompts, _)| prompts);
        let all = least(|(prompts, written)| prompts + written);
        let parts = match row.writer {
            Some(_) => vec![
                ("with summaries", prompts),
                ("with summaries, writing them included", all),
            ],
            None => vec![("without summaries", prompts)],
        };
        for (part, percent) in parts {
            against(
                &format!("M10: ≥ 50 % fewer tokens, {part}"),
                &format!("{percent:.1} %"),
                percent >= LESS_TOKENS_PERCENT,
            )?;
        }
    }
    for (row, of_row) in ours() {
        let all = of_row.iter().zip(&outcomes[1]).zip(priced);
        let cached = all.filter(|(_, priced)| priced.is_cached);
        let ratios = cached.map(|((ours, plain), _)| ours.dollars / plain.dollars);
        let ratios: Vec<f64> = ratios.collect();
        let least = ratios.iter().copied().fold(f64::MAX, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let met = ratios.iter().filter(|&&ratio| ratio <= OF_PLAIN_MONEY);
        against(
            &format!("M10: ≤ 0.6 × plain's money, {}", short(row)),
            &format!(
                "{least:.2} to {most:.2}×; within it at {} of {} cached prices",
                met.count(),
                ratios.len()
            ),
            most <= OF_PLAIN_MONEY,
        )?;
    }
    let [.., steps, turns] = outcomes else {
        return Ok(());
    };
    let ratios = steps
        .iter()
        .zip(turns)
        .zip(priced)
        .filter(|(_, priced)| priced.is_cached);
    let ratios = ratios.map(|((steps, turns), _)| format!("{:.2}", steps.dollars / turns.dollars));
    say(&format!(
        "          hysteresis: without summaries, steps cost {} × what steps of one turn do, by cached price",
        ratios.collect::<Vec<_>>().join(", ")
    ))
}

fn short(row: &Row) -> &'static str {
    let title = row.title.trim_start_matches("Sparkle");
    title.trim_start_matches([',', ' '])
}

/// Prints where the messages are that probes need.
fn probes(outcomes: &[Vec<Outcome>]) -> Result<()> {
    for (row, of_row) in ROWS.iter().zip(outcomes) {
        let found: Vec<Found> = of_row[0]
            .traces
            .iter()
            .flat_map(|t| t.found.clone())
            .collect();
        if found.is_empty() || row.writer == Some(Writer::Mini) {
            continue;
        }
        let count = |what| found.iter().filter(|&&found| found == what).count();
        say(&format!(
            "  {:<46}of {} probes, the message that is needed is in the window {}, under a summary {}, gone {}",
            row.title,
            found.len(),
            count(Found::InWindow),
            count(Found::UnderSummary),
            count(Found::Nowhere)
        ))?;
    }
    Ok(())
}
