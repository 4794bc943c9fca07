//! A story, disturbed once at every call that a function makes: the learner must not see it.

use sparkle_local::template::Template;

use crate::{
    fault::{Fault, Point},
    learner::CANCELLED_AFTER_MS,
    mutation::Mutation,
    process::Role,
    run::{Order, Report, Story, run},
    scene::Scene,
    trace::Showing,
};

/// How often in a row a fault hits that the SDK alone would get over.
const TIMES: [u32; 2] = [1, 4];

/// What leaves something half-done: what happens before a call is the same as after the one before it.
const HALF_DONE: [Fault; 4] = [
    Fault::CutAfter,
    Fault::Duplicated,
    Fault::KillAfter,
    Fault::HangAfter,
];

/// How long a turn may take whose worker died, although nobody asks after it: its message comes again
/// after 15 s.
pub(crate) const RECOVERY_MAX_MS: u64 = 60_000;

/// What a sweep found.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) runs: u32,
    /// Calls of an undisturbed turn, by function.
    pub(crate) calls: [u32; 2],
    pub(crate) failures: Vec<String>,
    /// The longest that a turn took, and where.
    pub(crate) slowest: (u64, String),
}

/// One turn with this disturbance.
pub(crate) fn one(template: &Template, point: Option<Point>, mutation: Option<Mutation>) -> Report {
    told(template, Story::One(point), mutation)
}

fn told(template: &Template, story: Story, mutation: Option<Mutation>) -> Report {
    let order = Order {
        seed: 0,
        story,
        mutation,
        showing: Showing::Nothing,
    };
    run(template, order)
}

/// How long a learner waits at most who stops an answer.
const CANCEL_MAX_MS: u64 = 1_000;

/// Stops one answer half-way: how long that takes, or what is wrong.
pub(crate) fn cancel(template: &Template, mutation: Option<Mutation>) -> Result<u64, String> {
    let order = Order {
        seed: 0,
        story: Story::Cancelled,
        mutation,
        showing: Showing::Nothing,
    };
    let report = run(template, order);
    if let Some(violation) = report.violations.into_iter().next() {
        return Err(violation);
    }
    let took_ms = report.counts.get(CANCELLED_AFTER_MS).copied();
    match took_ms.unwrap_or(u64::MAX) {
        _ if !report.outcome.contains("Done(\"cancelled\")") => {
            Err("it is not cancelled".to_owned())
        }
        took_ms if took_ms > CANCEL_MAX_MS => Err(format!("it took {took_ms} ms")),
        took_ms => Ok(took_ms),
    }
}

/// What is wrong with a disturbed turn, compared to an undisturbed one.
pub(crate) fn compare(report: &Report, undisturbed: &str, point: Point) -> Option<String> {
    if let Some(violation) = report.violations.first() {
        return Some(violation.clone());
    }
    let outcome = &report.outcome;
    if outcome != undisturbed {
        return Some(format!("{outcome} instead of {undisturbed}"));
    }
    // A worker that dies before its first act leaves its message hidden for as long as it might have
    // run: such a turn goes on when somebody asks after it.
    let is_hidden =
        point.role == Role::Worker && point.call == 0 && point.fault == Fault::KillBefore;
    let took_ms = took_ms(report);
    (took_ms > RECOVERY_MAX_MS && !is_hidden).then(|| format!("it took {took_ms} ms"))
}

fn took_ms(report: &Report) -> u64 {
    let took_ms = report.counts.get("answered after ms").copied();
    took_ms.unwrap_or_default()
}

/// The first crash point at which a mutation shows.
pub(crate) fn catch(template: &Template, mutation: Mutation) -> Option<String> {
    if let Err(wrong) = cancel(template, Some(mutation)) {
        return Some(format!("a cancelled turn: {wrong}"));
    }
    let undisturbed = one(template, None, None);
    for (role, calls) in [Role::Worker, Role::Message]
        .into_iter()
        .zip([undisturbed.calls[1], undisturbed.calls[0]])
    {
        for call in 0..calls {
            for fault in [
                Fault::KillAfter,
                Fault::HangAfter,
                Fault::CutAfter,
                Fault::Duplicated,
            ] {
                let point = Point {
                    role,
                    call,
                    fault,
                    times: 1,
                };
                let report = one(template, Some(point), Some(mutation));
                if let Some(wrong) = compare(&report, &undisturbed.outcome, point) {
                    let wrong: String = wrong.chars().take(120).collect();
                    return Some(format!("{}: {wrong}", point.shown()));
                }
            }
        }
    }
    None
}

/// Disturbs every call of one turn in every way.
pub(crate) fn sweep(template: &Template) -> Swept {
    sweep_over(template, Story::One, &Fault::ALL)
}

/// Disturbs every call of a scene that has no faults of its own, in the ways that leave something half-done.
pub(crate) fn sweep_scene(template: &Template, scene: &'static Scene) -> Swept {
    let story = |point| Story::Scene(scene, point);
    sweep_over(template, story, &HALF_DONE)
}

fn sweep_over(
    template: &Template,
    story: impl Fn(Option<Point>) -> Story,
    faults: &[Fault],
) -> Swept {
    let undisturbed = told(template, story(None), None);
    assert!(
        undisturbed.violations.is_empty(),
        "{:#?}",
        undisturbed.violations
    );
    let mut swept = Swept {
        calls: undisturbed.calls,
        ..Swept::default()
    };
    for (role, calls) in [Role::Message, Role::Worker].into_iter().zip(swept.calls) {
        for call in 0..calls {
            for &fault in faults {
                let once_or_more = |times: &u32| *times == 1 || may_be_repeated(fault);
                for times in TIMES.into_iter().filter(once_or_more) {
                    let point = Point {
                        role,
                        call,
                        fault,
                        times,
                    };
                    let report = told(template, story(Some(point)), None);
                    swept.note(&report, point, &undisturbed.outcome);
                }
            }
        }
    }
    swept
}

/// Whether the same may befall the calls that follow, too.
fn may_be_repeated(fault: Fault) -> bool {
    matches!(fault, Fault::CutBefore | Fault::CutAfter | Fault::Refused)
}

impl Swept {
    fn note(&mut self, report: &Report, point: Point, expected: &str) {
        self.runs += 1;
        if let Some(wrong) = compare(report, expected, point) {
            self.failures.push(format!("{}: {wrong}", point.shown()));
        }
        let took_ms = took_ms(report);
        if took_ms > self.slowest.0 {
            self.slowest = (took_ms, point.shown());
        }
    }
}
