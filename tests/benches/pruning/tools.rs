//! Random histories in which tools are called, and whether a window ever parts a call from its result.

use anyhow::Result;
use fastrand::Rng;
use sparkle_core::{
    context::{Conversation, Entry, Kind, Recap, Room, Settings, Step, prune},
    price::Model,
};
use sparkle_tests::bench::{against, say};

use crate::run::PLAIN_MESSAGES;

const HISTORIES: u64 = 20_000;

/// A message, and which call of a tool it makes or answers.
struct Told {
    entry: Entry,
    call: Option<usize>,
}

/// Prunes many random histories, to random settings, rooms and steps, and prints what broke.
pub(crate) fn measure(models: &[Model]) -> Result<()> {
    let (mut pairs, mut broken, mut headless, mut over) = (0, 0, 0, 0);
    let mut broken_plain = 0;
    for seed in 0..HISTORIES {
        let mut rng = Rng::with_seed(seed);
        let told = history(&mut rng);
        let settings = settings(&mut rng);
        let whole = usize::try_from(settings.whole)?;
        let begin = told.len().saturating_sub(whole);
        let recent: Vec<Entry> = told[begin..].iter().map(|told| told.entry).collect();
        let length = told.len() as u64;
        let recap = rng.bool().then(|| Recap {
            covers: rng.u64(..=length),
            tokens: rng.u32(20..600),
        });
        let taken_tokens = rng.u32(50..500);
        let room = Room {
            prompt_tokens: taken_tokens + rng.u32(..20_000),
            taken_tokens,
        };
        let step = Step::cheapest(&models[rng.usize(..models.len())], &settings);
        let conversation = Conversation {
            length,
            recent: &recent,
            recap,
        };
        let window = prune(&conversation, room, step, &settings)?;
        let first = begin + window.first;
        pairs += told.iter().filter(|told| told.call.is_some()).count() / 2;
        broken += parted(&told, first);
        broken_plain += parted(&told, told.len().saturating_sub(PLAIN_MESSAGES));
        let head = told.get(first).map(|told| told.entry.kind);
        headless += usize::from(head.is_some_and(|kind| kind != Kind::Question));
        let recap = recap.filter(|_| window.has_recap);
        let kept = recent[window.first..].iter().map(|entry| entry.tokens);
        // A message that takes over half of the prompt is shortened to that.
        let kept: u32 = kept.map(|tokens| tokens.min(room.prompt_tokens / 2)).sum();
        let sum = taken_tokens + kept + recap.map_or(0, |recap| recap.tokens);
        over += usize::from(sum > room.prompt_tokens);
    }
    say(&format!(
        "\ntools: {HISTORIES} random histories of 1 to 60 turns, up to 3 rounds of up to 3 calls in each; random \
         settings, rooms, steps and summaries; {pairs} calls with results"
    ))?;
    say(&format!(
        "          a plain window of {PLAIN_MESSAGES} messages parts {broken_plain} calls from their results"
    ))?;
    against("M10: 0 broken tool pairs", &broken.to_string(), broken == 0)?;
    let target = "0 windows that begin in the middle of a turn";
    against(target, &headless.to_string(), headless == 0)?;
    let target = "R-CTX-2: 0 prompts over the model's budget";
    against(target, &over.to_string(), over == 0)
}

fn history(rng: &mut Rng) -> Vec<Told> {
    let mut told = Vec::new();
    let mut calls = 0;
    for _ in 0..rng.usize(1..=60) {
        told.push(message(Kind::Question, None, rng));
        for _ in 0..rng.usize(..=3) {
            let round = calls..calls + rng.usize(1..=3);
            calls = round.end;
            // The calls of a round, then their results.
            for call in round.clone().chain(round) {
                told.push(message(Kind::Tool, Some(call), rng));
            }
        }
        // A turn that failed has no answer.
        if rng.usize(..20) > 0 {
            told.push(message(Kind::Answer, None, rng));
        }
    }
    told
}

fn message(kind: Kind, call: Option<usize>, rng: &mut Rng) -> Told {
    let tokens = match rng.usize(..20) {
        0 => rng.u32(1_000..30_000),
        _ => rng.u32(5..400),
    };
    let entry = Entry { kind, tokens };
    Told { entry, call }
}

fn settings(rng: &mut Rng) -> Settings {
    if rng.bool() {
        return Settings::default();
    }
    let whole = rng.u64(1..30);
    Settings {
        whole,
        summary_over: rng.u64(whole..60),
        least: rng.u64(1..=whole),
        ..Settings::default()
    }
}

/// How many calls have their result on the other side of a window's beginning.
fn parted(told: &[Told], first: usize) -> usize {
    let calls = |side: &[Told]| side.iter().filter_map(|told| told.call).collect::<Vec<_>>();
    let outside = calls(&told[..first]);
    let inside = calls(&told[first..]);
    outside.iter().filter(|call| inside.contains(call)).count()
}
