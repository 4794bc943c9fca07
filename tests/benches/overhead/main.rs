//! What one message costs with everything on that this release has (target M7).
//!
//!     cargo bench -p sparkle-tests --bench overhead                       of debug binaries
//!     cargo bench -p sparkle-tests --bench overhead -- --release          of what is deployed
//!     cargo bench -p sparkle-tests --bench overhead -- --release --peers  and of other gateways beside it
//!     cargo bench -p sparkle-tests --bench overhead -- --rounds           only the calls to the stores
//!     cargo bench -p sparkle-tests --bench overhead -- --repeats          only a question that was answered before
//!
//! Measures the program that `cargo run` starts, as processes, over the real WebSocket, with a scripted
//! provider over HTTP that answers at once. CPU is that of the functions, which is what AWS sells; the
//! `sparkle` process stands for AWS itself and is printed beside them.

mod load;
mod model;
mod peers;
mod relay;
mod repeat;
mod rounds;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use anyhow::{Result, bail, ensure};
use sparkle_tests::{
    PATIENCE,
    bench::{
        Consumption, Profile, Stack, Store, against, describe_machine, head, percentile, report,
        say,
    },
};
use tokio::time::{Instant, sleep};

use load::{Class, Pace, Turn, keeps_up, part};
use model::Model;

/// How often something is asked in the open loop.
fn pace(profile: Profile) -> Pace {
    let per_second = match profile {
        Profile::Debug => 8,
        // Modest, so that two cores carry the peers, too.
        Profile::Release => 20,
    };
    let lasting = Duration::from_secs(30);
    Pace {
        per_second,
        lasting,
    }
}

/// With a conversation each.
const LEARNERS: u32 = 40;
/// One after the other, each measured by itself.
const SINGLES: u32 = 300;
/// The higher paces that are tried until one is too much, in messages a second.
const HIGHER_PACES: [u32; 10] = [15, 20, 30, 40, 60, 80, 120, 160, 240, 320];
const HIGHER_LASTING: Duration = Duration::from_secs(8);
/// M7: CPU of the functions for one message.
const CPU_MAX: Duration = Duration::from_millis(1);
/// R-CHAT-6: from the provider's first byte to the client's first delta, at the median.
const OVERHEAD_MAX: Duration = Duration::from_millis(5);
/// The functions that a message passes.
const FUNCTIONS: [&str; 2] = ["ws-message", "turn-worker"];

/// A part of the benchmark by itself.
#[derive(Debug, Clone, Copy)]
enum Part {
    Rounds,
    Repeats,
}

/// What other gateways are compared with.
struct Ours {
    cpu: Duration,
    delta_p50: Duration,
}

#[tokio::main]
async fn main() -> Result<()> {
    let (mut with_peers, mut only, mut profile) = (false, None, Profile::Debug);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--peers" => with_peers = true,
            "--rounds" => only = Some(Part::Rounds),
            "--repeats" => only = Some(Part::Repeats),
            "--release" => profile = Profile::Release,
            other => bail!("{other} is not [--release] [--peers] [--rounds] [--repeats]"),
        }
    }
    describe_machine(profile)?;
    let programs = profile.build()?;
    let model = Arc::new(Model::start(&programs).await?);
    match only {
        Some(Part::Rounds) => return rounds::measure(&programs, &model).await,
        Some(Part::Repeats) => return repeat::measure(&programs, &model).await,
        None => {}
    }
    let pace = pace(profile);
    say(&format!(
        "client       this program, built for release, on the same machine\n\
         stack        authorizer, rate limit, durable turns, dedup, stored frames, quota, cache, ledger, logs and\n\
         \x20            metrics on; messages are scripts, which are never kept; safety and traces are not built yet\n\
         model        the scripted provider over HTTP through a relay of this program; two pieces, no pauses\n\
         load         {} short chats a second for {} s by {LEARNERS} learners with a conversation each, due at\n\
         \x20            fixed times whether or not earlier ones are answered; waits count from then\n",
        pace.per_second,
        pace.lasting.as_secs()
    ))?;
    head()?;
    singles(&programs, &model).await?;
    let mut ours = None;
    for store in [Store::Memory, Store::File] {
        let measured = open_loop(&programs, store, &model, pace).await?;
        ours = ours.or(Some(measured));
    }
    repeat::measure(&programs, &model).await?;
    rounds::measure(&programs, &model).await?;
    if let (true, Some(ours)) = (with_peers, ours) {
        peers::measure(&model, pace, &ours).await?;
    }
    Ok(())
}

/// One message after the other, so that the CPU of each is known.
async fn singles(programs: &Path, model: &Arc<Model>) -> Result<()> {
    let stack = Stack::start(programs, Store::Memory, Some(&model.base_url)).await?;
    let mut class = Class::gather(&stack, model, LEARNERS).await?;
    for _ in 0..LEARNERS {
        class.ask_once().await?;
    }
    let mut cpu: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let (mut sums, mut turns) = (Vec::new(), Vec::new());
    let mut before = at_rest(&stack).await?;
    let first = before.clone();
    for _ in 0..SINGLES {
        turns.push(class.ask_once().await?);
        let after = at_rest(&stack).await?;
        let mut sum = Duration::ZERO;
        for function in FUNCTIONS {
            let used = used(function, &before, &after);
            cpu.entry(function).or_default().push(used);
            sum += used;
        }
        sums.push(sum);
        before = after;
    }
    say("one at a time, store in memory: CPU of one message, counted in nanoseconds")?;
    for (function, used) in &cpu {
        report(function, used, "")?;
    }
    report("functions together", &sums, "")?;
    let p99 = percentile(&sums, 99);
    let target =
        format!("M7: p99 at most {CPU_MAX:?} of CPU per message, parts not built left out");
    against(&target, &format!("{p99:.2?}"), p99 <= CPU_MAX)?;
    let platform = used("sparkle", &first, &before) / SINGLES;
    say(&format!(
        "  the platform, which stands for AWS: {platform:.2?} a message"
    ))?;
    show_waits(&turns, SINGLES)?;
    stack.process.stop().await
}

/// At a pace that is given, and, in memory, at higher ones until it is too much.
async fn open_loop(programs: &Path, store: Store, model: &Arc<Model>, pace: Pace) -> Result<Ours> {
    let stack = Stack::start(programs, store, Some(&model.base_url)).await?;
    let mut class = Class::gather(&stack, model, LEARNERS).await?;
    // Starts the instances that this pace needs.
    let warm_up = Pace {
        lasting: Duration::from_secs(4),
        ..pace
    };
    class.ask(warm_up).await?;
    let before = at_rest(&stack).await?;
    let turns = class.ask(pace).await?;
    let after = at_rest(&stack).await?;
    say(&format!("open loop, store in {}", store.name()))?;
    show_waits(&turns, pace.times())?;
    let mut cpu = Duration::ZERO;
    for function in FUNCTIONS {
        let used = used(function, &before, &after) / pace.times();
        let of = after.get(function).copied().unwrap_or_default();
        say(&format!(
            "  {function:<12} {used:.2?} of CPU a message; {} processes, {} MiB together",
            of.processes,
            of.memory_bytes >> 20
        ))?;
        cpu += used;
    }
    let platform = used("sparkle", &before, &after) / pace.times();
    say(&format!(
        "  functions together {cpu:.2?} of CPU a message; the platform {platform:.2?} beside them"
    ))?;
    if !keeps_up(&turns, pace) {
        say(
            "  it does NOT keep up: the machine is too busy, and the CPU of many cold starts is in it",
        )?;
    } else if matches!(store, Store::Memory) {
        highest_pace(&mut class, pace).await?;
    }
    stack.process.stop().await?;
    Ok(Ours {
        cpu,
        delta_p50: percentile(&part(&turns, |turn| turn.delta), 50),
    })
}

async fn highest_pace(class: &mut Class, lowest: Pace) -> Result<()> {
    let mut highest = lowest.per_second;
    let higher = |per_second: &u32| *per_second > lowest.per_second;
    for per_second in HIGHER_PACES.into_iter().filter(higher) {
        let lasting = HIGHER_LASTING;
        let pace = Pace {
            per_second,
            lasting,
        };
        let turns = class.ask(pace).await?;
        if !keeps_up(&turns, pace) {
            break;
        }
        highest = per_second;
    }
    say(&format!(
        "  highest pace that keeps up, of {HIGHER_PACES:?}: {highest} a second (p99 of frame to\n\
         \x20 done under 1 s over {} s; client, platform and provider share the cores with the functions)",
        HIGHER_LASTING.as_secs()
    ))
}

fn show_waits(turns: &[Turn], asked: u32) -> Result<()> {
    let failed = (asked as usize).saturating_sub(turns.len());
    if failed > 0 {
        say(&format!(
            "  FAILED   {failed} of {asked}: the machine is too busy for this pace"
        ))?;
    }
    report("frame to ack", &part(turns, |turn| turn.ack), "")?;
    report("frame to first delta", &part(turns, |turn| turn.delta), "")?;
    report("frame to done", &part(turns, |turn| turn.done), "")?;
    let overheads: Vec<_> = turns.iter().filter_map(|turn| turn.overhead).collect();
    report("provider's first byte to first delta", &overheads, "")?;
    ensure!(!overheads.is_empty(), "no answer of the provider was seen");
    let median = percentile(&overheads, 50);
    against(
        &format!("R-CHAT-6: p50 under {OVERHEAD_MAX:?} from provider's first byte"),
        &format!("{median:.2?}"),
        median < OVERHEAD_MAX,
    )
}

/// What a function, all its processes, has used between two looks.
fn used(
    name: &str,
    before: &BTreeMap<String, Consumption>,
    after: &BTreeMap<String, Consumption>,
) -> Duration {
    let cpu = |at: &BTreeMap<String, Consumption>| at.get(name).map_or(Duration::ZERO, |of| of.cpu);
    cpu(after).saturating_sub(cpu(before))
}

/// What all have used once the platform has stopped every process of a function, as it does after its
/// last invocation: then nothing of a message is still under way.
async fn at_rest(stack: &Stack) -> Result<BTreeMap<String, Consumption>> {
    let begun = Instant::now();
    loop {
        let now = stack.process.consumption()?;
        let rests = |name: &str| now.get(name).is_some_and(|of| of.stopped == of.processes);
        if FUNCTIONS.iter().all(|name| rests(name)) {
            return Ok(now);
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "a function does not come to rest"
        );
        sleep(Duration::from_millis(1)).await;
    }
}
