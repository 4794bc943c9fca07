//! The whole backend in one thread and in no time: real handlers, embedded engines, a seed.

mod check;
mod clock;
mod engines;
mod fault;
mod guard;
mod learner;
mod mutation;
mod platform;
mod process;
mod provider;
mod run;
mod script;
mod trace;
mod view;
mod world;

use std::{
    env,
    process::{Command, Stdio},
    time::Instant,
};

use run::{Order, Story};
use trace::{Counts, Showing};

/// Set in the process that runs: the functions read the environment, which only a parent can give.
const INSIDE: &str = "SIMULATION_INSIDE";

fn main() {
    if env::var_os(INSIDE).is_some() {
        inside();
        return;
    }
    let template = run::template();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(env::args().skip(1));
    for function in &template.functions {
        command.envs(&function.environment);
    }
    let given = [
        (INSIDE, "1"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb"),
        ("AWS_ENDPOINT_URL_SQS", "http://sqs"),
        ("SPARKLE_PUSH_ENDPOINT", "http://sockets/dev"),
        ("SPARKLE_JWT_SECRET", "a secret for tests only"),
    ];
    command.envs(given).stdout(Stdio::null());
    let status = command.status().unwrap();
    assert!(status.success(), "the simulation found something");
}

fn number(flag: &str) -> Option<u64> {
    let mut arguments = env::args().skip_while(|argument| argument != flag).skip(1);
    arguments.next().map(|number| number.parse().unwrap())
}

fn inside() {
    provider::listen();
    let template = run::template();
    let is_traced = env::args().any(|argument| argument == "--trace");
    let showing = if is_traced {
        Showing::Everything
    } else {
        Showing::Nothing
    };
    let (first, count) = match number("--seed") {
        Some(seed) => (seed, 1),
        None => (0, number("--seeds").unwrap_or(10)),
    };
    let begun = Instant::now();
    let mut total = Counts::new();
    let mut failed = 0;
    for seed in first..first + count {
        let order = Order {
            seed,
            story: Story::Random,
            mutation: None,
            showing,
        };
        let report = run::run(&template, order);
        for (what, by) in &report.counts {
            *total.entry(what.clone()).or_default() += by;
        }
        if !report.violations.is_empty() {
            failed += 1;
            eprintln!("seed {seed}: {:#?}", report.violations);
        }
        if count == 1 {
            eprintln!("seed {seed}: hash {:016x}\n{}", report.hash, report.outcome);
        }
    }
    for (what, by) in &total {
        eprintln!("{by:>12} {what}");
    }
    eprintln!("{failed} of {count} failed, {:?} a seed", begun.elapsed() / u32::try_from(count).unwrap());
}
