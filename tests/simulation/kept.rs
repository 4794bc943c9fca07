//! What must hold of answers that were kept, when all is quiet.

use serde_json::Value;

use crate::{
    engines::{number, text, word},
    learner::{Learner, Learners},
    platform::Platform,
    script::{Script, lesson},
};

/// An entry holds one whole answer and nobody's call that is over; it was served as often as the ledger says, and
/// each turn at most once, for nothing.
pub(crate) fn all(platform: &Platform, learners: &Learners) -> Vec<String> {
    let engines = &platform.world.engines;
    let (entries, lines) = (engines.items("CacheTable"), engines.items("LedgerTable"));
    let now_ms = u64::try_from(platform.world.clock.unix_ms()).unwrap();
    let mut broken = Vec::new();
    for learner in learners {
        let scope = format!("learner/{}", learner.user);
        let entries = entries.iter().filter(|entry| word(entry, "scope") == scope);
        let entries: Vec<&Value> = entries.collect();
        let hits: Vec<&Value> = lines
            .iter()
            .filter(|line| {
                word(line, "user_id") == learner.user && number(line, "saved_tokens") > 0
            })
            .collect();
        broken.extend(entries.iter().flat_map(|entry| of_entry(entry, now_ms)));
        let served: u64 = entries.iter().map(|entry| number(entry, "hits")).sum();
        if served != u64::try_from(hits.len()).unwrap() {
            let (user, lines) = (&learner.user, hits.len());
            broken.push(format!(
                "{user}: {served} hits are counted, {lines} are in the ledger"
            ));
        }
        broken.extend(of_hits(learner, &hits, &entries));
    }
    broken
}

fn of_entry(entry: &Value, now_ms: u64) -> Option<String> {
    if number(entry, "flight_until") > now_ms {
        return Some(format!("somebody is said to ask still: {entry}"));
    }
    let answer = text(&entry["answer"])?;
    let is_whole = answer == lesson() && number(entry, "completion_tokens") > 0;
    (!is_whole).then(|| format!("not a whole answer is kept: {entry}"))
}

fn of_hits(learner: &Learner, hits: &[&Value], entries: &[&Value]) -> Vec<String> {
    let mut broken = Vec::new();
    let tokens = |item: &Value| number(item, "prompt_tokens") + number(item, "completion_tokens");
    for turn in &learner.turns {
        let of_turn = hits
            .iter()
            .filter(|line| word(line, "request_id") == turn.request);
        let of_turn: Vec<&&Value> = of_turn.collect();
        if of_turn.len() > 1 || (of_turn.len() == 1 && !matches!(turn.script, Script::Asked)) {
            broken.push(format!("{}: {of_turn:?} were served", turn.request));
        }
        for line in of_turn {
            let is_saved = |entry: &&&Value| tokens(entry) == number(line, "saved_tokens");
            if tokens(line) > 0 || !entries.iter().any(|entry| is_saved(&entry)) {
                broken.push(format!("{}: {line} was not for nothing", turn.request));
            }
        }
    }
    broken
}
