//! The whole backend in one thread and in no time: real handlers, embedded engines, a seed.
//!
//! `cargo test -p sparkle-tests --test simulation -- --seeds 100000` makes that many runs;
//! `--seed N --trace` repeats one and shows all of it, `--others` has each single call fail in turn,
//! plays the scenes, repeats a run and sets Powertools' rule beside ours, and `--mutations` takes out one
//! safety line at a time and says what notices. (`--scene N --trace --mutation M` shows one of these.) Everything that happens follows from the seed: what fails, when, and
//! who does what. What is not seeded is said in `run`.

mod check;
mod clock;
mod engines;
mod fault;
mod guard;
mod kept;
mod learner;
mod memory;
mod money;
mod mutation;
mod part;
mod platform;
mod powertools;
mod process;
mod provider;
mod run;
mod scene;
mod script;
mod source;
mod sweep;
mod table;
mod trace;
mod view;
mod world;

use std::{
    env,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use part::{Part, Result};

/// Set in a process that runs: the functions read the environment, which only a parent can give.
const INSIDE: &str = "SIMULATION_PART";
/// Runs of a plain `cargo test`; `.ci/run` makes ten times as many, in a profile of their own.
const SEEDS: u64 = 100;
/// Most seeds that a mutation is given to be caught.
const SEEDS_OF_A_MUTATION: u64 = 300;
/// Runs in one process: what the SDK keeps for each of them is never given back.
const SEEDS_OF_A_PROCESS: u64 = 2_500;

fn main() {
    if let Some(part) = inside() {
        part::run(&part);
        return;
    }
    if flag("--list").is_some() {
        return; // what test runners ask of a test that has no harness
    }
    let begun = Instant::now();
    let parts = parts();
    let workers = flag("--jobs").flatten().unwrap_or(2);
    let results = in_processes(&parts, usize::try_from(workers).unwrap());
    let failed = table::show(&results, begun.elapsed());
    assert!(!failed, "the simulation found something");
}

#[expect(
    clippy::disallowed_methods,
    reason = "how this program tells its parts what to do"
)]
fn inside() -> Option<String> {
    env::var(INSIDE).ok()
}

/// A flag, with its number if it has one.
fn flag(name: &str) -> Option<Option<u64>> {
    let mut arguments = env::args().skip_while(|argument| argument != name);
    arguments.next()?;
    Some(arguments.next().and_then(|number| number.parse().ok()))
}

/// What is to be done.
fn parts() -> Vec<Part> {
    if let Some(Some(seed)) = flag("--seed") {
        return vec![Part::Seed(seed)];
    }
    if let Some(Some(number)) = flag("--scene") {
        return vec![Part::Scene(usize::try_from(number).unwrap())];
    }
    let others = [
        Part::Sweep,
        Part::SweepAgain,
        Part::Scenes,
        Part::Repeat,
        Part::Powertools,
    ];
    if flag("--others").is_some() {
        return others.to_vec();
    }
    if flag("--mutations").is_some() {
        let mutations = (0..mutation::Mutation::ALL.len()).map(|number| Part::Mutation {
            number,
            seeds: SEEDS_OF_A_MUTATION,
        });
        return mutations.collect();
    }
    let seeds = flag("--seeds").flatten();
    let mut parts = Vec::new();
    let (mut first, last) = (
        flag("--first").flatten().unwrap_or(0),
        seeds.unwrap_or(SEEDS),
    );
    let last = first + last;
    while first < last {
        let count = SEEDS_OF_A_PROCESS
            .min(last - first)
            .min((last - first).div_ceil(2).max(50));
        let count = count.min(last - first);
        parts.push(Part::Seeds { first, count });
        first += count;
    }
    if seeds.is_none() {
        parts.extend(others);
    }
    parts
}

/// Does every part in a process of its own, so many at once.
fn in_processes(parts: &[Part], workers: usize) -> Vec<Result> {
    let template = run::template();
    let queue = std::sync::Mutex::new(parts.iter());
    thread::scope(|scope| {
        let work = || {
            let mut results = Vec::new();
            loop {
                let Some(part) = queue.lock().unwrap().next() else {
                    return results;
                };
                results.push(in_process(part, &template));
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let results = workers.into_iter().map(|worker| worker.join().unwrap());
        results.flatten().collect()
    })
}

fn in_process(part: &Part, template: &sparkle_local::template::Template) -> Result {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(env::args().skip(1));
    for function in &template.functions {
        command.envs(&function.environment);
    }
    command.envs([
        (INSIDE, part.to_text().as_str()),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb"),
        ("AWS_ENDPOINT_URL_SQS", "http://sqs"),
        ("SPARKLE_PUSH_ENDPOINT", "http://sockets/dev"),
        ("SPARKLE_JWT_SECRET", "a secret for tests only"),
    ]);
    command.envs(memory::SETTINGS);
    // Its stdout is the functions' metrics.
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut result = None;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.strip_prefix(part::RESULT) {
            Some(text) => result = Some(serde_json::from_str(text).unwrap()),
            None => eprintln!("{line}"),
        }
    }
    let status = child.wait().unwrap();
    result.unwrap_or_else(|| Result {
        part: part.to_text(),
        failures: vec![format!("{} ended with {status}", part.to_text())],
        ..Result::default()
    })
}
