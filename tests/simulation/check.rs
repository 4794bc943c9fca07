//! What must hold when all is quiet.

use std::{collections::BTreeMap, rc::Rc};

use crate::{
    engines::text,
    kept,
    learner::{Device, Learner, Learners, Turn},
    memory, money,
    platform::Platform,
    provider,
    view::{End, View},
};

/// Checks everything, and says in one text how it all ended.
pub(crate) async fn all(platform: &Rc<Platform>, learners: &Learners, seen: Vec<Device>) -> String {
    let trace = &platform.world.trace;
    let mut outcome = String::new();
    let history = history(platform);
    for learner in learners {
        let examiner = Device::new(platform, learner, "examiner").examine().await;
        for turn in &learner.turns {
            let stored = examiner.views.get(&turn.stream);
            let Some(stored) = stored.filter(|view| view.is_complete()) else {
                trace.violation(format!("{} is not kept whole", turn.request));
                continue;
            };
            let attempts = platform.world.guard.lock().unwrap().attempts(&turn.request);
            for broken in of_turn(turn, stored, &history, attempts) {
                trace.violation(format!("{}: {broken}", turn.request));
            }
            for device in seen.iter().filter(|device| device.is_of(learner)) {
                for broken in of_device(turn, stored, device) {
                    trace.violation(format!("{}: {broken}", turn.request));
                }
            }
            outcome.push_str(&shown(turn, stored));
        }
        if let Some(broken) = of_calls(platform, learner) {
            trace.violation(broken);
        }
        for broken in of_order(learner, &history) {
            trace.violation(broken);
        }
    }
    for (request, entries) in &history {
        outcome.push_str(&format!("{request}: {entries:?}\n"));
    }
    for left in platform.left_over() {
        trace.violation(left);
    }
    for broken in memory::all(platform)
        .into_iter()
        .chain(money::all(platform, learners))
        .chain(kept::all(platform, learners))
    {
        trace.violation(broken);
    }
    outcome
}

fn shown(turn: &Turn, view: &View) -> String {
    let (text, restarts) = view.text();
    format!(
        "{} {:?} {text:?} restarts {restarts}\n",
        turn.request,
        view.end()
    )
}

/// Role, text and position of each stored message, by the request that made it.
type History = BTreeMap<String, Vec<(String, String, u64)>>;

fn history(platform: &Platform) -> History {
    let mut history = History::new();
    for item in platform.world.engines.items("MessagesTable") {
        let word = |name: &str| text(&item[name]).unwrap_or_default().to_owned();
        let position = word("position").parse().unwrap_or_default();
        let entry = (word("speaker"), word("text"), position);
        history.entry(word("request_id")).or_default().push(entry);
    }
    for entries in history.values_mut() {
        entries.sort_by_key(|entry| entry.2);
    }
    history
}

/// A turn's stream is what the model said and what the history keeps.
fn of_turn(turn: &Turn, stored: &View, history: &History, attempts: u32) -> Vec<String> {
    let mut broken = Vec::new();
    let (text, _) = stored.text();
    let script = turn.script.whole(&text);
    let entries = history.get(&turn.request).map_or(&[][..], Vec::as_slice);
    let mut is_kept = true;
    match stored.end() {
        Some(End::Done(reason)) if reason == "stop" => {
            if text != script {
                broken.push(format!("its text is {text:?} and not {script:?}"));
            }
        }
        Some(End::Done(reason)) if reason == "cancelled" => {
            if !turn.cancelled.get() {
                broken.push("it was cancelled by nobody".to_owned());
            }
            if !script.starts_with(&text) {
                broken.push(format!("its text is {text:?} of {script:?}"));
            }
            is_kept = !text.is_empty();
        }
        Some(End::Error(code)) => {
            is_kept = false;
            // What a turn is tried at most, and once more to say so.
            let is_given_up = attempts > 10 && code == "INTERNAL";
            let has_failed = turn.script.fails() && code == "PROVIDER_ERROR";
            if !is_given_up && !has_failed {
                broken.push(format!("it ended with {code}"));
            }
        }
        other => broken.push(format!("it ended with {other:?}")),
    }
    is_kept &= !turn.deleted.get();
    let kept: Vec<(&str, &str)> = entries
        .iter()
        .map(|(role, text, _)| (role.as_str(), text.as_str()))
        .collect();
    let message = turn.script.message();
    let expected = [("user", message.as_str()), ("assistant", text.as_str())];
    let expected = if is_kept { &expected[..] } else { &[] };
    if kept != expected {
        broken.push(format!("the history holds {kept:?} and not {expected:?}"));
    }
    broken
}

/// Every device that followed a turn saw the stream that is kept.
fn of_device(turn: &Turn, stored: &View, device: &Device) -> Vec<String> {
    let Some(view) = device.views.get(&turn.stream) else {
        return vec![format!("{} saw nothing of it", device.name())];
    };
    let same = view.frames().eq(stored.frames());
    if same {
        return Vec::new();
    }
    vec![format!("{} saw another stream than is kept", device.name())]
}

/// The model is asked at most once each time that a lease is taken. (A worker that was sent one turn's
/// message may run another: calls are counted for the learner.)
fn of_calls(platform: &Platform, learner: &Learner) -> Option<String> {
    let guard = platform.world.guard.lock().unwrap();
    let turns = learner.turns.iter();
    let (calls, attempts) = turns.fold((0, 0), |(calls, attempts), turn| {
        (
            calls + provider::calls(&turn.trace_id),
            attempts + guard.attempts(&turn.request),
        )
    });
    let trace = &platform.world.trace;
    let (name, turns) = (&learner.user, learner.turns.len());
    if calls > attempts {
        return Some(format!(
            "{name}: the model was asked {calls} times in {attempts} attempts"
        ));
    }
    let is_alive = DEATHS.iter().all(|death| trace.counted(death) == 0);
    let is_once = usize::try_from(calls).unwrap() <= turns;
    (is_alive && !is_once).then(|| {
        format!("{name}: the model was asked {calls} times for {turns} turns, and no worker died")
    })
}

/// What may have a turn answered again.
const DEATHS: [&str; 7] = [
    "kill before",
    "kill after",
    "hang before",
    "hang after",
    "kill at any moment",
    "hang at any moment",
    "turn-worker failed",
];

/// The turns of a session are in the history in the order of their `ack`s.
fn of_order(learner: &Learner, history: &History) -> Vec<String> {
    let mut last: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    let mut broken = Vec::new();
    let mut turns: Vec<&Turn> = learner.turns.iter().collect();
    turns.sort_by_key(|turn| turn.acked.get());
    for turn in turns {
        let Some(entries) = history.get(&turn.request) else {
            continue;
        };
        for (_, _, position) in entries {
            if let Some((before, request)) = last.get(turn.session.as_str())
                && before >= position
            {
                broken.push(format!("{} is behind {}", request, turn.request));
            }
            last.insert(&turn.session, (*position, &turn.request));
        }
    }
    broken
}
