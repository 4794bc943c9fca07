//! One run: a seed makes a world, learners live in it, and what they and the tables saw is compared.
//!
//! A run is the same each time, to the byte of its trace. What could not be seeded, and why it does no
//! harm: the order in which `tokio::select!` looks (seedable in unstable tokio only; every one that a
//! function runs through is `biased`), the order of members in the SDK's requests (no engine sees it), and
//! the ten minutes for which the table engine remembers a transaction's token (real ones).

use std::{rc::Rc, time::Duration};

use fastrand::Rng;
use sparkle_local::template::{Surroundings, Template};
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, sleep, timeout},
};

use crate::{
    check,
    clock::Clock,
    fault::{Plan, Point},
    learner::{Device, Learner, Learners},
    mutation::Mutation,
    platform::{Platform, Queues},
    provider,
    scene::Scene,
    script,
    trace::{Counts, Showing, Trace},
    world::World,
};

/// Longest life of a run, in its own time.
const LIFE_MAX: Duration = Duration::from_hours(6);

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Story {
    /// Learners, sessions and faults as the seed says.
    Random,
    /// One turn, disturbed at one point or not at all.
    One(Option<Point>),
    /// One turn, stopped half-way by its learner.
    Cancelled,
    /// What a scene says, with its own faults or with one at this point.
    Scene(&'static Scene, Option<Point>),
}

/// A run to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) seed: u64,
    pub(crate) story: Story,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) showing: Showing,
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) violations: Vec<String>,
    pub(crate) counts: Counts,
    pub(crate) hash: u64,
    pub(crate) lines: Vec<String>,
    /// What the learner saw in the end, and the tables kept: equal for equal outcomes.
    pub(crate) outcome: String,
    /// Calls of `ws-message` and of `turn-worker`.
    pub(crate) calls: [u32; 2],
}

/// The tables and queues of the project.
pub(crate) fn template() -> Template {
    let surroundings = Surroundings {
        sqs_url: "http://sqs".to_owned(),
        ..Surroundings::default()
    };
    let path = sparkle_tests::root().join("template.yaml");
    Template::load(&path, &surroundings).unwrap()
}

/// Makes one run, on this thread.
pub(crate) fn run(template: &Template, order: Order) -> Report {
    // What the SDK draws: backoff, tokens and ids.
    fastrand::seed(order.seed);
    // Before calls are counted: it asks the model once in a process.
    script::lesson();
    provider::begin();
    let local = LocalSet::new();
    on_paused_time(local.run_until(live(template, order)))
}

/// Runs on this thread, in a time that goes on when nothing else can.
pub(crate) fn on_paused_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(work)
}

async fn live(template: &Template, order: Order) -> Report {
    let clock = Clock::start();
    let mut rng = Rng::with_seed(order.seed);
    let (plan, learners) = match order.story {
        Story::Random => {
            let calm_at = Instant::now() + Duration::from_secs(rng.u64(20..150));
            let plan = Plan::random(rng.u64(..), calm_at);
            let count = rng.u32(1..4);
            let learners: Learners = (0..count)
                .map(|number| {
                    let (sessions, messages) = (rng.u32(1..3), rng.u32(1..5));
                    Learner::new(format!("ann{number}"), sessions, messages, &mut rng)
                })
                .collect();
            (plan, learners)
        }
        Story::One(point) => (Plan::only(point), vec![Learner::of_one_turn(None)]),
        Story::Cancelled => {
            let half = Duration::from_millis(800);
            (Plan::only(None), vec![Learner::of_one_turn(Some(half))])
        }
        Story::Scene(scene, point) => {
            let plan = match point {
                Some(_) => Plan::only(point),
                None => Plan::cued(scene.cues),
            };
            (plan, vec![Learner::of_scene(scene)])
        }
    };
    let trace = Trace::new(clock, order.showing);
    let world = World::new(template, plan, trace, clock, order.mutation);
    for learner in &learners {
        let streams = learner.turns.iter().map(|turn| {
            let owner = (learner.user.clone(), turn.request.clone());
            (turn.stream, owner)
        });
        world.streams.lock().unwrap().extend(streams);
        let turns = learner.turns.iter();
        let streams = turns.map(|turn| (turn.request.clone(), turn.stream));
        world.guard.lock().unwrap().streams.extend(streams);
    }
    let run = format!("r{}-{}", order.seed, provider::run_number());
    let platform = Platform::start(world.clone(), run, Queues::of(template));

    let seen = timeout(LIFE_MAX, learn(&platform, &learners, order.story)).await;
    let seen = seen.unwrap_or_else(|_| {
        world.trace.violation("the run does not end".to_owned());
        Vec::new()
    });
    world.trace.count("answered after ms", clock.elapsed_ms());
    let outcome = if world.trace.is_violated() {
        String::new()
    } else {
        quiet(&platform).await;
        check::all(&platform, &learners, seen).await
    };
    platform.stop().await;
    world.land().await;
    let trace = &world.trace;
    trace.count("simulated ms", clock.elapsed_ms());
    for (what, by) in provider::counts() {
        trace.count(&what, by);
    }
    let calls = {
        let plan = world.plan.lock().unwrap();
        [crate::process::Role::Message, crate::process::Role::Worker].map(|role| plan.calls(role))
    };
    let (violations, counts, hash, lines) = trace.take();
    Report {
        violations,
        counts,
        hash,
        lines,
        outcome,
        calls,
    }
}

/// Has every device of every learner do what it does.
async fn learn(platform: &Rc<Platform>, learners: &Learners, story: Story) -> Vec<Device> {
    let mut devices = JoinSet::new();
    for learner in learners {
        if let Story::Scene(scene, _) = story {
            for (name, &acts) in ["a", "b", "c"].into_iter().zip(scene.devices) {
                devices.spawn_local(Device::new(platform, learner, name).act(acts));
            }
            continue;
        }
        let author = Device::new(platform, learner, "a");
        devices.spawn_local(author.write());
        if matches!(story, Story::Random) && author_is_watched(platform) {
            let watcher = Device::new(platform, learner, "b");
            devices.spawn_local(watcher.watch());
        }
    }
    let mut seen = Vec::new();
    while let Some(device) = devices.join_next().await {
        match device {
            Ok(device) => seen.push(device),
            Err(error) => platform
                .world
                .trace
                .violation(format!("a device failed: {error}")),
        }
    }
    seen
}

fn author_is_watched(platform: &Platform) -> bool {
    let mut plan = platform.world.plan.lock().unwrap();
    plan.happens(60)
}

/// Waits until nothing goes wrong any more and nothing is under way.
async fn quiet(platform: &Platform) {
    let world = &platform.world;
    let calm_at = world.plan.lock().unwrap().calm_at;
    world.plan.lock().unwrap().calm_at = Instant::now().min(calm_at);
    let deadline = Instant::now() + Duration::from_hours(1);
    loop {
        world.land().await;
        let is_settled = world.engines.items("IntentsTable").is_empty();
        if is_settled && platform.is_idle() && platform.queues_are_empty().await {
            return;
        }
        if Instant::now() > deadline {
            let left = world.engines.items("IntentsTable");
            let what = format!("the queues never empty, or a call is never billed: {left:?}");
            world.trace.violation(what);
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
}
