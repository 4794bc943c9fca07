//! Two hundred learners at once, each with turn after turn.
//!
//!     cargo bench -p sparkle-tests --bench load                  what `cargo run` gives a newcomer
//!     cargo bench -p sparkle-tests --bench load -- --release     the same, of release binaries
//!
//! `--connections 200 --turns 20 --store file` are the defaults. Each learner has a connection and a
//! conversation, awaits each `ack` before the next frame and waits for no answer. Nothing may be lost,
//! doubled or out of order; if anything is, it is shown and the benchmark fails.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sparkle_tests::{
    bench::{Consumption, Profile, Provider, Stack, Store, describe_machine, head, report, say},
    get,
    load::{Conversation, Times},
};
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// How often memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// How often it says how far it is.
const PROGRESS_EVERY: u32 = 10;
/// The last of violations and log lines that are shown.
const SHOWN_MAX: usize = 10;
/// Answered before anything is measured: by then the functions run.
const WARM_TURNS: usize = 1;
/// The longest that one learner waits for the next frame while the others have theirs.
const PATIENCE: Duration = Duration::from_mins(10);

struct Plan {
    profile: Profile,
    store: Store,
    connections: usize,
    turns: usize,
}

impl Plan {
    fn of_arguments() -> Result<Self> {
        let mut plan = Self {
            profile: Profile::Debug,
            store: Store::File,
            connections: 200,
            turns: 20,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().context("a value is missing");
            match argument.as_str() {
                // Cargo says so to every benchmark.
                "--bench" => {}
                "--release" => plan.profile = Profile::Release,
                "--connections" => plan.connections = value()?.parse()?,
                "--turns" => plan.turns = value()?.parse()?,
                "--store" => {
                    plan.store = match value()?.as_str() {
                        "file" => Store::File,
                        "memory" => Store::Memory,
                        other => bail!("{other} is neither file nor memory"),
                    }
                }
                other => bail!(
                    "{other} is not [--release] [--connections N] [--turns N] [--store file|memory]"
                ),
            }
        }
        ensure!(
            plan.connections > 0 && plan.turns > 0,
            "nothing to be measured"
        );
        Ok(plan)
    }

    /// All turns, warm ones included.
    fn all(&self) -> usize {
        self.connections * (self.turns + WARM_TURNS)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let plan = Plan::of_arguments()?;
    describe_machine(plan.profile)?;
    let programs = plan.profile.build()?;
    let provider = Provider::start(&programs).await?;
    let stack = Stack::start(&programs, plan.store, Some(&provider.base_url)).await?;
    say(&format!(
        "client       this program, built for release, on the same machine\n\
         stack        authorizer, rate limit, durable turns, stored frames, logs and metrics on\n\
         store        dynoxide and queues in: {}\n\
         model        the scripted provider over HTTP (built as the stack is): 13 pieces without pauses\n\
         load         {} connections, each of a learner with one conversation of {} turns, sent without\n\
         \x20            waiting for answers; {WARM_TURNS} more each, not measured, starts the functions first\n",
        plan.store.name(),
        plan.connections,
        plan.turns,
    ))?;
    let run = run(&plan, &stack).await?;
    run.report(&plan)?;
    let violations = run.violations(&plan, &provider).await?;
    complaints(&stack)?;
    stack.process.stop().await?;
    for violation in violations.iter().take(SHOWN_MAX) {
        say(&format!("VIOLATED {violation}"))?;
    }
    ensure!(
        violations.is_empty(),
        "{} violations, the first of them above",
        violations.len()
    );
    say("nothing lost, doubled or out of order; as many calls of the provider as turns")
}

/// What was seen.
struct Run {
    times: Vec<Times>,
    broken: Vec<String>,
    restarts: usize,
    repeats: usize,
    answered: usize,
    took: Duration,
    before: BTreeMap<String, Consumption>,
    after: BTreeMap<String, Consumption>,
    peak: BTreeMap<String, Consumption>,
}

async fn run(plan: &Plan, stack: &Stack) -> Result<Run> {
    let answered = Arc::new(AtomicUsize::new(0));
    let warm = Arc::new(Barrier::new(plan.connections + 1));
    let begin = Arc::new(Barrier::new(plan.connections + 1));
    let mut conversations = JoinSet::new();
    for number in 0..plan.connections {
        let name = format!("learner-{number}");
        let client = stack.connect(&name).await?;
        let mut conversation = Conversation::new(client, &name, Arc::clone(&answered), PATIENCE);
        let (warm, begin, turns) = (Arc::clone(&warm), Arc::clone(&begin), plan.turns);
        conversations.spawn(async move {
            let warmed = conversation.say(WARM_TURNS).await;
            warm.wait().await;
            begin.wait().await;
            let said = match warmed {
                Ok(()) => conversation.say(turns).await,
                failed => failed,
            };
            let over_at = Instant::now();
            (conversation, said, over_at)
        });
    }
    progress(&format!(
        "{} connections are open; the functions start",
        plan.connections
    ))?;
    let mut watch = Watch::of(stack, plan.all(), Arc::clone(&answered));
    watch.until(warm.wait()).await?;
    let before = stack.process.consumption()?;
    begin.wait().await;
    let begun = Instant::now();
    let mut ended = Vec::new();
    let ending = async {
        while let Some(conversation) = conversations.join_next().await {
            ended.push(conversation?);
        }
        anyhow::Ok(())
    };
    watch.until(ending).await??;
    let after = stack.process.consumption()?;
    let mut run = Run {
        times: Vec::new(),
        broken: Vec::new(),
        restarts: 0,
        repeats: 0,
        answered: answered.load(Ordering::Relaxed),
        took: Duration::ZERO,
        before,
        after,
        peak: watch.peak,
    };
    progress("all is said; the histories are read")?;
    for (mut conversation, said, over_at) in ended {
        run.took = run.took.max(over_at - begun);
        run.times.extend(conversation.times(WARM_TURNS));
        run.restarts += conversation.restarts();
        run.repeats += conversation.repeats();
        let kept = match said {
            Ok(()) => conversation.check_history().await,
            failed => failed,
        };
        run.broken
            .extend(kept.err().map(|error| format!("{error:#}")));
    }
    Ok(run)
}

/// Looks at memory, and says how far it is, while something goes on.
struct Watch<'a> {
    stack: &'a Stack,
    turns: usize,
    answered: Arc<AtomicUsize>,
    peak: BTreeMap<String, Consumption>,
    looks: u32,
}

impl<'a> Watch<'a> {
    fn of(stack: &'a Stack, turns: usize, answered: Arc<AtomicUsize>) -> Self {
        let (peak, looks) = (BTreeMap::new(), 0);
        Self {
            stack,
            turns,
            answered,
            peak,
            looks,
        }
    }

    async fn until<T>(&mut self, over: impl Future<Output = T>) -> Result<T> {
        let mut over = std::pin::pin!(over);
        let mut looks = interval(SAMPLE_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                result = &mut over => return Ok(result),
                _ = looks.tick() => self.look()?,
            }
        }
    }

    fn look(&mut self) -> Result<()> {
        for (name, now) in self.stack.process.consumption()? {
            let peak = self.peak.entry(name).or_default();
            peak.processes = peak.processes.max(now.processes);
            peak.memory_bytes = peak.memory_bytes.max(now.memory_bytes);
        }
        self.looks += 1;
        if self.looks.is_multiple_of(PROGRESS_EVERY) {
            let answered = self.answered.load(Ordering::Relaxed);
            progress(&format!("{answered} of {} turns are answered", self.turns))?;
        }
        Ok(())
    }
}

impl Run {
    fn report(&self, plan: &Plan) -> Result<()> {
        head()?;
        let waits = |part: fn(&Times) -> Duration| self.times.iter().map(part).collect::<Vec<_>>();
        report("frame to ack", &waits(|turn| turn.ack), "")?;
        report("frame to first delta", &waits(|turn| turn.delta), "")?;
        report("frame to done", &waits(|turn| turn.done), "")?;
        let alone = "since the turn before it was over";
        report("the same without its line", &waits(|turn| turn.own), alone)?;
        let turns = self.times.len();
        say(&format!(
            "  {turns} turns in {:.1} s: {:.1} turns a second; answers begun anew: {}; messages said again: {}\n",
            self.took.as_secs_f64(),
            per(turns, self.took),
            self.restarts,
            self.repeats
        ))?;
        say(&format!(
            "{:<20}{:>10}{:>12}{:>14}{:>14}",
            "process", "at most", "CPU s", "ms per turn", "peak MiB each"
        ))?;
        for (name, peak) in &self.peak {
            let cpu_of = |all: &BTreeMap<String, Consumption>| {
                all.get(name).map_or(Duration::ZERO, |one| one.cpu)
            };
            let cpu = cpu_of(&self.after).saturating_sub(cpu_of(&self.before));
            let each = peak.memory_bytes / u64::try_from(peak.processes.max(1))?;
            let of =
                |all: &BTreeMap<String, Consumption>| all.get(name).map_or(0, |one| one.processes);
            let remark = if of(&self.after) < of(&self.before) {
                "  some have ended: their CPU is not in it"
            } else {
                ""
            };
            say(&format!(
                "  {name:<18}{:>10}{:>12.2}{:>14.2}{:>14.1}{remark}",
                peak.processes,
                cpu.as_secs_f64(),
                cpu.as_secs_f64() * 1_000.0 / float(plan.connections * plan.turns),
                float(usize::try_from(each / 1_024)?) / 1_024.0,
            ))?;
        }
        say(
            "  CPU of its own code and the kernel's for it, processes that started meanwhile included\n",
        )
    }

    async fn violations(&self, plan: &Plan, provider: &Provider) -> Result<Vec<String>> {
        let mut violations = self.broken.clone();
        let all = plan.all();
        if self.answered != all {
            violations.push(format!("{} turns of {all} were answered", self.answered));
        }
        let stats = get(&provider.base_url.replace("/v1", "/stats")).await?;
        let stats: Value = serde_json::from_str(&stats)?;
        for count in ["calls", "finished"] {
            if stats[count] != all {
                violations.push(format!("the provider counts {stats} for {all} turns"));
            }
        }
        Ok(violations)
    }
}

/// Shows what the stack has logged as a warning or an error, by kind.
fn complaints(stack: &Stack) -> Result<()> {
    let log = stack.log()?;
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for line in log.lines() {
        if line.contains("WARN") || line.contains("ERROR") {
            // Without what differs from line to line.
            let digits = |character: &char| character.is_ascii_digit();
            let kind = line
                .chars()
                .filter(|character| !digits(character))
                .take(240)
                .collect();
            *kinds.entry(kind).or_default() += 1;
        }
    }
    for (kind, count) in kinds.iter().take(SHOWN_MAX) {
        say(&format!("logged {count} times: {kind}"))?;
    }
    Ok(())
}

fn per(count: usize, took: Duration) -> f64 {
    float(count) / took.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn float(count: usize) -> f64 {
    // Counts of turns and KiB are far below where an f64 has gaps.
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn progress(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{line}")?)
}
