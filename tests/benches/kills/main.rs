//! Real processes killed with SIGKILL at random moments while learners have their turns answered.
//!
//!     cargo bench --profile dev -p sparkle-tests --bench kills                                a short one
//!     cargo bench --profile dev -p sparkle-tests --bench kills -- --turns 200 --kills 200    the whole
//!
//! `--sessions 16 --seed 7` are further flags. The tenth death in one turn ends it with an error, as it
//! should, which is shown as a violation since its answer is not complete; `--spare 3` lets workers live
//! while a turn has lost three, so that chance cannot bring that about.
//!
//! Half of the kills hit `turn-worker`, half `ws-message`, at
//! work where one is. At the end every answer is what its script says, every conversation holds each turn
//! once and in order, and the provider has been asked no more often than turns and kills explain; if not,
//! it is shown and the program fails.

mod killer;
mod learner;

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use killer::{Kill, VICTIMS};
use learner::{Learner, Seen};
use serde_json::Value;
use sparkle_tests::{
    bench::{Profile, Provider, Stack, Store, describe_machine, percentile, say},
    get,
    processes::Activity,
};
use tokio::task::JoinSet;

/// What an answer is made of.
const PIECES: usize = 40;
const PAUSE_MS: u64 = 40;
/// How many of the violations are shown.
const SHOWN_MAX: usize = 10;
/// Counters of the stack that tell how it recovered.
const COUNTERS: [&str; 3] = [
    "turns_requeued_total",
    "lease_losses_total",
    "lease_failures_total",
];

/// What the stack logs of a process that dies before it is ready.
const NOT_STARTED: &str = "a function does not start";

struct Plan {
    turns: usize,
    kills: usize,
    sessions: usize,
    seed: u64,
    /// Deaths in one turn after which no worker is killed until it is over.
    spare: usize,
}

impl Plan {
    fn of_arguments() -> Result<Self> {
        let mut plan = Self {
            turns: 20,
            kills: 20,
            sessions: 0,
            seed: 7,
            spare: usize::MAX,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().context("a value is missing");
            match argument.as_str() {
                // Cargo says so to every benchmark.
                "--bench" => {}
                "--turns" => plan.turns = value()?.parse()?,
                "--kills" => plan.kills = value()?.parse()?,
                "--sessions" => plan.sessions = value()?.parse()?,
                "--seed" => plan.seed = value()?.parse()?,
                "--spare" => plan.spare = value()?.parse()?,
                other => bail!(
                    "{other} is not [--turns N] [--kills N] [--sessions N] [--seed N] [--spare N]"
                ),
            }
        }
        if plan.sessions == 0 {
            plan.sessions = (plan.turns / 5).clamp(1, 16);
        }
        ensure!(
            plan.turns >= plan.sessions,
            "a conversation has a turn at least"
        );
        Ok(plan)
    }

    /// How many turns a conversation has.
    fn turns_of(&self, session: usize) -> usize {
        let rest = self.turns % self.sessions;
        self.turns / self.sessions + usize::from(session < rest)
    }
}

/// What learners talk to.
struct Setting {
    stack: Stack,
    pieces: usize,
    pause_ms: u64,
    spare: usize,
    /// Turns that are over.
    answered: AtomicUsize,
    /// Turns that have lost as many workers as they may.
    fragile: AtomicUsize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let plan = Plan::of_arguments()?;
    describe_machine(Profile::Debug)?;
    let programs = Profile::Debug.build()?;
    let provider = Provider::start(&programs).await?;
    let stack = Stack::start(&programs, Store::Memory, Some(&provider.base_url)).await?;
    say(&format!(
        "load         {} turns in {} conversations at once, each two turns at a time, answers of {PIECES} pieces,\n\
         \x20            {PAUSE_MS} ms apart; one frame in 60 is the last on its socket\n\
         kills        {} with SIGKILL, seed {}\n",
        plan.turns, plan.sessions, plan.kills, plan.seed,
    ))?;
    let setting = Arc::new(Setting {
        stack,
        pieces: PIECES,
        pause_ms: PAUSE_MS,
        spare: plan.spare,
        answered: AtomicUsize::new(0),
        fragile: AtomicUsize::new(0),
    });
    let begun = Instant::now();
    let (seen, kills) = run(&plan, &setting).await?;
    let took = begun.elapsed();
    let stats: Value =
        serde_json::from_str(&get(&provider.base_url.replace("/v1", "/stats")).await?)?;
    let mut violations = reconcile(&plan, &kills, &stats);
    violations.extend(seen.iter().flat_map(|seen| seen.violations.iter().cloned()));
    report(&plan, &seen, &kills, &stats, took)?;
    recovery(&setting.stack).await?;
    for violation in violations.iter().take(SHOWN_MAX) {
        say(&format!("VIOLATED {violation}"))?;
    }
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kills.log");
    fs::write(&log, setting.stack.log()?)?;
    say(&format!("the stack's log is {}", log.display()))?;
    ensure!(violations.is_empty(), "{} violations", violations.len());
    say(
        "nothing lost, doubled or out of order; as many calls of the provider as turns and kills explain",
    )
}

async fn run(plan: &Plan, setting: &Arc<Setting>) -> Result<(Vec<Seen>, Vec<Kill>)> {
    let mut chance = fastrand::Rng::with_seed(plan.seed);
    let mut learners = JoinSet::new();
    for session in 0..plan.sessions {
        let learner = Learner::new(Arc::clone(setting), session, chance.fork());
        learners.spawn(learner.await?.run(plan.turns_of(session)));
    }
    let killing = killer::run(setting, plan, chance);
    let learning = async {
        let mut seen = Vec::new();
        while let Some(learner) = learners.join_next().await {
            seen.push(learner?);
        }
        anyhow::Ok(seen)
    };
    tokio::try_join!(learning, killing)
}

/// What the provider counted against what was asked and who was killed.
fn reconcile(plan: &Plan, kills: &[Kill], stats: &Value) -> Vec<String> {
    let mut violations = Vec::new();
    let count = |name: &str| {
        let count = stats[name].as_u64().unwrap_or_default();
        usize::try_from(count).unwrap_or(usize::MAX)
    };
    let workers = kills.iter().filter(|kill| kill.function == "turn-worker");
    let at_work = workers
        .filter(|kill| kill.activity == Activity::Awake)
        .count();
    if kills.len() < plan.kills {
        violations.push(format!("only {} of {} kills", kills.len(), plan.kills));
    }
    let (calls, finished) = (count("calls"), count("finished"));
    if calls < plan.turns || calls > plan.turns + at_work {
        let turns = plan.turns;
        violations.push(format!(
            "{calls} calls for {turns} turns and {at_work} dead workers"
        ));
    }
    // An answer that was not finished for its caller was begun again.
    if finished < plan.turns || calls != finished + count("aborted") + count("failed") {
        violations.push(format!(
            "the provider counts {stats} for {} turns",
            plan.turns
        ));
    }
    let pieces = count("pieces");
    if pieces < plan.turns * PIECES || pieces > calls * PIECES {
        violations.push(format!("{pieces} pieces were served for {calls} calls"));
    }
    violations
}

fn report(plan: &Plan, seen: &[Seen], kills: &[Kill], stats: &Value, took: Duration) -> Result<()> {
    say(&format!(
        "{:<16}{:>8}{:>10}{:>10}",
        "killed", "kills", "at work", "frozen"
    ))?;
    for victim in VICTIMS {
        let own: Vec<&Kill> = kills
            .iter()
            .filter(|kill| kill.function == victim.function)
            .collect();
        let awake = own.iter().filter(|kill| kill.activity == Activity::Awake);
        let awake = awake.count();
        let (name, all) = (victim.function, own.len());
        say(&format!(
            "  {name:<14}{all:>8}{awake:>10}{:>10}",
            all - awake
        ))?;
    }
    let sum = |part: fn(&Seen) -> usize| seen.iter().map(part).sum::<usize>();
    say(&format!(
        "\n{:<44}{:>6}{:>9}{:>9}{:>9}",
        "recovery, seconds", "n", "p50", "p95", "max"
    ))?;
    let all = |part: fn(&Seen) -> &Vec<Duration>| -> Vec<Duration> {
        seen.iter()
            .flat_map(|seen| part(seen).iter().copied())
            .collect()
    };
    for (title, waits) in [
        (
            "a question said again, to its ack",
            all(|seen| &seen.acks_after_repeats),
        ),
        (
            "a stream broken off, to its next frame",
            all(|seen| &seen.silences),
        ),
    ] {
        let at = |percent| percentile(&waits, percent).as_secs_f64();
        let (p50, p95, max) = (at(50), at(95), at(100));
        let n = waits.len();
        say(&format!(
            "  {title:<42}{n:>6}{p50:>9.2}{p95:>9.2}{max:>9.2}"
        ))?;
    }
    say(&format!(
        "\nlearners     {} messages said again, {} resumes, {} sockets cut, {} refusals to be tried again\n\
         frames       {} came after a gap and {} twice, which a client sees by their seq; {} answers began anew\n\
         provider     {stats}\n\
         took         {:.1} s for {} turns",
        sum(|seen| seen.repeats),
        sum(|seen| seen.resumes),
        sum(|seen| seen.cuts),
        sum(|seen| seen.refusals),
        sum(|seen| seen.gaps),
        sum(|seen| seen.doubled),
        sum(|seen| seen.restarts),
        took.as_secs_f64(),
        plan.turns,
    ))
}

/// How the stack says that it recovered.
async fn recovery(stack: &Stack) -> Result<()> {
    let url = stack.process.ws.replacen("ws://", "http://", 1);
    let metrics = get(&format!("{}/metrics", url.trim_end_matches('/'))).await?;
    let log = stack.log()?;
    let unborn = log.lines().filter(|line| line.contains(NOT_STARTED));
    say(&format!(
        "{:<24}{:>6}",
        "killed while they start",
        unborn.count()
    ))?;
    for name in COUNTERS {
        let line = metrics.lines().find(|line| line.starts_with(name));
        let count = line.and_then(|line| line.rsplit(' ').next()).unwrap_or("0");
        say(&format!("{name:<24}{count:>6}"))?;
    }
    Ok(())
}
