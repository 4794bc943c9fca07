//! The ledger's writer and the sweeper, and what must hold of money when all is quiet.

use std::{cell::RefCell, rc::Rc, time::Duration};

use serde_json::{Value, json};
use sparkle_aws::{
    exchange,
    meter::Meter,
    push::Push,
    queue::DeadLetters,
    table::{
        accounts::Accounts, answers::Answers, intents::Intents, ledger::Ledger, policies::Policies,
        profiles::Profiles,
    },
};
use tokio::time::sleep;

use crate::{
    engines::{number, word},
    learner::{Learner, Learners, Turn},
    platform::{Instance, Platform},
    process::Role,
    provider,
    source::Source,
};

/// As in template.yaml.
const WRITER_TIMEOUT: Duration = Duration::from_secs(10);
const SWEEPER_TIMEOUT: Duration = Duration::from_secs(55);
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const BATCH: usize = 10;

impl Platform {
    /// Delivers bills.
    pub(crate) async fn write_ledger(self: Rc<Self>) {
        let source = Source {
            queue: &self.queues.bills,
            batch: BATCH,
            timeout: WRITER_TIMEOUT,
        };
        let handle = async |app: &billing_worker::App, event| {
            billing_worker::handle(app, event, self.world.clock.now()).await
        };
        let idle = RefCell::default();
        self.feed(source, &idle, || self.new_writer(), handle).await;
    }

    /// Sweeps once a minute.
    pub(crate) async fn sweep(self: Rc<Self>) {
        loop {
            sleep(SWEEP_EVERY).await;
            let (process, exchange, region) = self.process(Role::Sweeper);
            let clock = self.world.clock;
            let aws = exchange::aws(exchange, &region, move || clock.now());
            let app = sweeper::App {
                meter: Meter::open(&aws).unwrap(),
                policies: Policies::open(&aws).unwrap(),
                ledger: Ledger::open(&aws).unwrap(),
            };
            let event = serde_json::from_value(json!({})).unwrap();
            let handling = sweeper::handle(&app, event, clock.now());
            drop(self.run(&process, SWEEPER_TIMEOUT, handling).await);
        }
    }

    fn new_writer(&self) -> Instance<billing_worker::App> {
        let (process, exchange, region) = self.process(Role::Billing);
        let clock = self.world.clock;
        let aws = exchange::aws(exchange, &region, move || clock.now());
        let app = billing_worker::App {
            accounts: Accounts::open(&aws).unwrap(),
            answers: Answers::open(&aws).unwrap(),
            policies: Policies::open(&aws).unwrap(),
            intents: Intents::open(&aws).unwrap(),
            ledger: Ledger::open(&aws).unwrap(),
            profiles: Profiles::open(&aws).unwrap(),
            push: Push::open(&aws).unwrap(),
            dead_letters: DeadLetters::open(&aws).unwrap(),
        };
        Instance { app, process }
    }
}

/// Each call is in the ledger once, as the model counted it or not below; nothing is held; and what the
/// accounts say is what the ledger says.
pub(crate) fn all(platform: &Platform, learners: &Learners) -> Vec<String> {
    let engines = &platform.world.engines;
    let (lines, accounts) = (engines.items("LedgerTable"), engines.items("AccountsTable"));
    let sums = engines.items("UsageTable");
    let mut broken = Vec::new();
    for learner in learners {
        let is_theirs = |item: &&Value| word(item, "user_id") == learner.user;
        let lines: Vec<&Value> = lines.iter().filter(is_theirs).collect();
        broken.extend(of_calls(learner, &lines));
        let account = accounts.iter().find(is_theirs);
        broken.extend(of_account(learner, account, &lines));
        let spent = total(&lines);
        let in_sums: Vec<&Value> = sums.iter().filter(is_theirs).collect();
        if total(&in_sums) != spent {
            broken.push(format!(
                "{}: sums {in_sums:?} of {spent} tokens",
                learner.user
            ));
        }
    }
    broken
}

/// (A worker that was sent one turn's message may run another: calls are compared by learner.)
fn of_calls(learner: &Learner, lines: &[&Value]) -> Vec<String> {
    let mut broken = Vec::new();
    let turns = || learner.turns.iter();
    let called = |turn: &Turn| {
        provider::calls(&turn.trace_id) + provider::calls_for_summaries(&turn.trace_id)
    };
    let calls: u32 = turns().map(called).sum();
    if lines.len() < usize::try_from(calls).unwrap() {
        let (user, lines) = (&learner.user, lines.len());
        broken.push(format!("{user}: {calls} calls of the model, {lines} lines"));
    }
    let mut usages: Vec<(u64, u64)> = turns()
        .flat_map(|turn| provider::usages(&turn.trace_id))
        .collect();
    for line in lines {
        let request = word(line, "request_id");
        let mut turns = turns();
        let is_whole = turns.any(|turn| {
            // The offline model counts as it goes: what it had served of an answer that was stopped or failed.
            turn.request == request && !turn.cancelled.get() && !turn.script.fails()
        });
        // Of several attempts each but one may have been cut where it lost its lease.
        let attempts = lines
            .iter()
            .filter(|line| word(line, "request_id") == request);
        let is_whole = is_whole && attempts.count() == 1;
        // Nothing was asked for it: see `kept`.
        if number(line, "saved_tokens") > 0 {
            continue;
        }
        if line["estimated"]["BOOL"] == true || !is_whole {
            continue;
        }
        let tokens = (
            number(line, "prompt_tokens"),
            number(line, "completion_tokens"),
        );
        match usages.iter().position(|usage| *usage == tokens) {
            Some(place) => drop(usages.remove(place)),
            None => broken.push(format!("{request}: the model did not count {tokens:?}")),
        }
    }
    broken
}

fn of_account(learner: &Learner, account: Option<&Value>, lines: &[&Value]) -> Vec<String> {
    let Some(account) = account else {
        return lines
            .first()
            .map(|line| format!("{}: no account and {line}", learner.user))
            .into_iter()
            .collect();
    };
    let mut broken = Vec::new();
    if account["holds"]["M"] != json!({}) {
        broken.push(format!(
            "{}: something is held: {}",
            learner.user, account["holds"]
        ));
    }
    let windows = account["windows"]["M"].as_object().unwrap();
    for length in ["2026-11-24".len(), "2026-11".len()] {
        let windows = windows.iter().filter(|(name, _)| name.len() == length);
        let windows: Vec<&Value> = windows.map(|(_, window)| &window["M"]).collect();
        let sum = |name: &str| {
            windows
                .iter()
                .map(|window| number(window, name))
                .sum::<u64>()
        };
        if sum("tokens_used") != total(lines) || sum("tokens_held") != 0 {
            broken.push(format!(
                "{}: {windows:?} and {} tokens in the ledger",
                learner.user,
                total(lines)
            ));
        }
        for window in &windows {
            let left = number(window, "tokens_limit").checked_sub(number(window, "tokens_used"));
            if left != Some(number(window, "tokens_left")) {
                broken.push(format!("{}: {window} does not add up", learner.user));
            }
        }
    }
    broken
}

fn total(items: &[&Value]) -> u64 {
    let of_item = |item: &&Value| number(item, "prompt_tokens") + number(item, "completion_tokens");
    items.iter().map(of_item).sum()
}
