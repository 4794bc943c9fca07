//! What one process does of the whole.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::{
    fault::{Fault, Point},
    mutation::Mutation,
    powertools,
    process::Role,
    provider,
    run::{self, Order, Story},
    scene::{Asks, SCENES, Scene},
    sweep,
    trace::{Counts, Showing},
};

/// What a line with a result begins with.
pub(crate) const RESULT: &str = "@result ";

/// Lines of a failed run that are shown.
const END_OF_TRACE: usize = 60;
/// Seeds that are run twice to see that they do the same.
const REPEATED: u64 = 25;

/// A part of the work.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Seed(u64),
    Seeds { first: u64, count: u64 },
    Mutation { number: usize, seeds: u64 },
    Sweep,
    SweepAgain,
    Scene(usize),
    Scenes,
    Repeat,
    Powertools,
}

/// What a part found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Result {
    pub(crate) part: String,
    pub(crate) seeds: u64,
    pub(crate) counts: Counts,
    pub(crate) failures: Vec<String>,
    /// What is to be said of it besides.
    pub(crate) notes: Vec<String>,
    pub(crate) took_ms: u64,
}

impl Part {
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Seed(seed) => format!("seed {seed} 0"),
            Self::Seeds { first, count } => format!("seeds {first} {count}"),
            Self::Mutation { number, seeds } => format!("mutation {number} {seeds}"),
            Self::Sweep => "sweep 0 0".to_owned(),
            Self::SweepAgain => "sweep-again 0 0".to_owned(),
            Self::Scene(number) => format!("scene {number}"),
            Self::Scenes => "scenes 0 0".to_owned(),
            Self::Repeat => "repeat 0 0".to_owned(),
            Self::Powertools => "powertools 0 0".to_owned(),
        }
    }

    fn of_text(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let number = |place: usize| words[place].parse::<u64>().unwrap();
        match words[0] {
            "seed" => Self::Seed(number(1)),
            "seeds" => Self::Seeds {
                first: number(1),
                count: number(2),
            },
            "mutation" => Self::Mutation {
                number: usize::try_from(number(1)).unwrap(),
                seeds: number(2),
            },
            "sweep" => Self::Sweep,
            "sweep-again" => Self::SweepAgain,
            "scene" => Self::Scene(usize::try_from(number(1)).unwrap()),
            "scenes" => Self::Scenes,
            "repeat" => Self::Repeat,
            _ => Self::Powertools,
        }
    }
}

/// Does a part and prints its result.
pub(crate) fn run(text: &str) {
    let begun = Instant::now();
    provider::listen();
    let mut result = match Part::of_text(text) {
        Part::Seed(seed) => one(order(seed, None)),
        Part::Scene(number) => one(of_scene(&SCENES[number], None)),
        Part::Scenes => played(),
        Part::Seeds { first, count } => seeds(first, count),
        Part::Mutation { number, seeds } => mutation(Mutation::ALL[number], seeds),
        Part::Sweep => swept(),
        Part::SweepAgain => swept_again(),
        Part::Repeat => repeated(),
        Part::Powertools => compared(),
    };
    result.part = text.to_owned();
    result.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap();
    eprintln!("{RESULT}{}", serde_json::to_string(&result).unwrap());
}

fn order(seed: u64, mutation: Option<Mutation>) -> Order {
    Order {
        seed,
        story: Story::Random,
        mutation,
        showing: Showing::Nothing,
    }
}

fn of_scene(scene: &'static Scene, mutation: Option<Mutation>) -> Order {
    Order {
        story: Story::Scene(scene, None),
        ..order(0, mutation)
    }
}

/// Makes one run to be looked at.
fn one(order: Order) -> Result {
    let is_traced = std::env::args().any(|argument| argument == "--trace");
    let mutation = crate::flag("--mutation").flatten();
    let mutation = mutation.map(|number| Mutation::ALL[usize::try_from(number).unwrap()]);
    let showing = if is_traced {
        Showing::Everything
    } else {
        Showing::Nothing
    };
    let order = Order {
        showing,
        mutation,
        ..order
    };
    let report = run::run(&run::template(), order);
    let verdict = match order.story {
        Story::Scene(scene, None) => scene.verdict(&report),
        _ => None,
    };
    let mut failures = report.violations;
    failures.extend(verdict.filter(|wrong| !failures.contains(wrong)));
    Result {
        seeds: 1,
        notes: vec![format!("hash {:016x}", report.hash), report.outcome],
        counts: report.counts,
        failures,
        ..Result::default()
    }
}

fn seeds(first: u64, count: u64) -> Result {
    let template = run::template();
    let mut result = Result::default();
    let mut shown = 0;
    for seed in first..first + count {
        let report = run::run(&template, order(seed, None));
        result.seeds += 1;
        for (what, by) in report.counts {
            *result.counts.entry(what).or_default() += by;
        }
        if report.violations.is_empty() {
            continue;
        }
        shown += 1;
        if shown <= 3 {
            let from = report.lines.len().saturating_sub(END_OF_TRACE);
            eprintln!("seed {seed}:\n{}", report.lines[from..].join("\n"));
        }
        let first = report.violations.first().map_or("", String::as_str);
        result.failures.push(format!("seed {seed}: {first}"));
    }
    result
}

/// Takes a line out: who notices, and if nobody does, what holds in its place.
fn mutation(mutation: Mutation, most: u64) -> Result {
    let template = run::template();
    let briefly = |wrong: String| wrong.chars().take(120).collect::<String>();
    let played = |scene: &'static Scene, mutation| {
        let report = run::run(&template, of_scene(scene, Some(mutation)));
        scene.verdict(&report).map(briefly)
    };
    let told = SCENES
        .iter()
        .find_map(|scene| Some((scene, played(scene, mutation)?)));
    let enough = told.iter().flat_map(|&(scene, _)| {
        let alone = mutation.each_alone();
        alone.map(move |(line, others)| (line, played(scene, others)))
    });
    let (enough, too_little): (Vec<_>, Vec<_>) = enough.partition(|(_, wrong)| wrong.is_none());
    let scene = told.map(|(scene, wrong)| format!("in the scene \"{}\": {wrong}", scene.name));
    let point = sweep::catch(&template, mutation);
    let seed = (0..most).find_map(|seed| {
        let report = run::run(&template, order(seed, Some(mutation)));
        let violation = briefly(report.violations.into_iter().next()?);
        Some(format!("by seed {seed}: {violation}"))
    });
    let is_caught = scene.is_some() || point.is_some() || seed.is_some();
    let held_by = mutation.held_by();
    let line = mutation.shown();
    let mut lines = vec![
        format!("without {line}"),
        scene.map_or_else(|| "in no scene".to_owned(), caught),
        point.map_or_else(|| "at no crash point".to_owned(), caught),
        seed.map_or_else(|| format!("by none of {most} seeds"), caught),
    ];
    if !held_by.is_empty() {
        lines.push(format!("held as well by {}", held_by.join("; ")));
    }
    if !enough.is_empty() {
        let enough: Vec<&str> = enough.into_iter().map(|(line, _)| line).collect();
        lines.push(format!("each is enough there: {}", enough.join("; ")));
    }
    let too_little = too_little.into_iter();
    let too_little =
        too_little.map(|(line, wrong)| format!("{line} alone holds nothing: {wrong:?}"));
    let is_missed = !is_caught && held_by.is_empty();
    let missed = || format!("nothing notices that {line} is missing, and no other line is named");
    let failures = is_missed.then(missed).into_iter().chain(too_little);
    Result {
        failures: failures.collect(),
        notes: vec![lines.join("\n      ")],
        ..Result::default()
    }
}

fn caught(by: String) -> String {
    format!("caught {by}")
}

fn played() -> Result {
    let template = run::template();
    let failed = SCENES.iter().filter_map(|scene| {
        let report = run::run(&template, of_scene(scene, None));
        let wrong = scene.verdict(&report)?;
        Some(format!("the scene \"{}\": {wrong}", scene.name))
    });
    let failures: Vec<String> = failed.collect();
    let held = SCENES.len() - failures.len();
    Result {
        notes: vec![format!("{held} of {} scenes hold", SCENES.len())],
        failures,
        ..Result::default()
    }
}

fn swept() -> Result {
    let swept = sweep::sweep(&run::template());
    let [messages, worker] = swept.calls;
    let mut failures = swept.failures;
    let cancelled = sweep::cancel(&run::template(), None);
    let cancelled = cancelled.unwrap_or_else(|wrong| {
        failures.push(format!("cancelled half-way: {wrong}"));
        0
    });
    Result {
        failures,
        notes: vec![
            format!("an answer ends {cancelled} ms after its learner stopped it"),
            format!(
                "crash points: {} runs over {messages} calls of ws-message and {worker} of turn-worker; \
             slowest answer after {} ms ({})",
                swept.runs, swept.slowest.0, swept.slowest.1
            ),
        ],
        ..Result::default()
    }
}

/// Disturbs what is answered by what was kept.
fn swept_again() -> Result {
    let template = run::template();
    let mut result = Result::default();
    let asked_again = |scene: &&Scene| scene.asks == Asks::OneQuestion && scene.cues.is_empty();
    for scene in SCENES.iter().filter(asked_again) {
        let swept = sweep::sweep_scene(&template, scene);
        let failures = swept.failures.into_iter();
        let failures = failures.map(|wrong| format!("\"{}\": {wrong}", scene.name));
        result.failures.extend(failures);
        result.notes.push(format!(
            "crash points: {} runs of \"{}\"; slowest after {} ms ({})",
            swept.runs, scene.name, swept.slowest.0, swept.slowest.1
        ));
    }
    result
}

fn repeated() -> Result {
    let template = run::template();
    let mut result = Result::default();
    for seed in 0..REPEATED {
        let [one, two] = [(); 2].map(|()| run::run(&template, order(seed, None)));
        result.seeds += 1;
        if one.hash == two.hash {
            continue;
        }
        let lines = one.lines.iter().zip(&two.lines);
        let differing = lines
            .filter(|(one, two)| one != two)
            .map(|(one, two)| format!("{one} | {two}"));
        let first = differing.take(1).collect::<Vec<_>>().join("");
        result
            .failures
            .push(format!("seed {seed} is another when run again: {first}"));
    }
    let same = result.seeds - u64::try_from(result.failures.len()).unwrap();
    result.notes = vec![format!(
        "{same} of {} seeds are the same when run again",
        result.seeds
    )];
    result
}

fn compared() -> Result {
    let template = run::template();
    let theirs = powertools::two_attempts(&template);
    let mut failures = Vec::new();
    if theirs.effects != ["second", "first"] || theirs.result != "first" {
        failures.push(format!("Powertools' rule held, it seems: {theirs:?}"));
    }
    // Ours under the same schedule: the first owner hangs for as long when it has the lease.
    let undisturbed = sweep::one(&template, None, None);
    let taken = undisturbed
        .lines
        .iter()
        .filter(|line| line.contains(" turn-worker-"));
    let calls: Vec<&String> = taken
        .filter(|line| !line.contains(" = ") && !line.contains(" takes "))
        .collect();
    let acquire = calls
        .iter()
        .position(|line| line.contains(" UpdateItem Leases/"));
    let point = Point {
        role: Role::Worker,
        call: u32::try_from(acquire.unwrap()).unwrap(),
        fault: Fault::HangAfter,
        times: 1,
    };
    let ours = sweep::one(&template, Some(point), None);
    failures.extend(ours.violations);
    if ours.outcome != undisturbed.outcome {
        failures.push(format!("ours did not hold: {}", ours.outcome));
    }
    Result {
        failures,
        notes: vec![format!(
            "an owner hangs for 40 s: under Powertools' rule the effect is had by {} and the record \
             is that of the {} attempt; under ours the outcome is that of an undisturbed turn",
            theirs.effects.join(" and "),
            theirs.result
        )],
        ..Result::default()
    }
}
