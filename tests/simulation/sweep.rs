//! One turn, disturbed once at every call that a function makes: the learner must not see it.

use sparkle_local::template::Template;

use crate::{
    fault::{Fault, Point},
    process::Role,
    run::{Order, Report, Story, run},
    trace::Showing,
};

/// How often in a row a fault hits that the SDK alone would get over.
const TIMES: [u32; 2] = [1, 4];

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
pub(crate) fn one(template: &Template, point: Option<Point>, showing: Showing) -> Report {
    let order = Order {
        seed: 0,
        story: Story::One(point),
        mutation: None,
        showing,
    };
    run(template, order)
}

/// Disturbs every call in every way.
pub(crate) fn sweep(template: &Template) -> Swept {
    let undisturbed = one(template, None, Showing::Nothing);
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
            for fault in Fault::ALL {
                for times in TIMES {
                    if times > 1
                        && !matches!(fault, Fault::CutBefore | Fault::CutAfter | Fault::Refused)
                    {
                        continue;
                    }
                    let point = Point {
                        role,
                        call,
                        fault,
                        times,
                    };
                    swept.disturb(template, point, &undisturbed.outcome);
                }
            }
        }
    }
    swept
}

impl Swept {
    fn disturb(&mut self, template: &Template, point: Point, expected: &str) {
        let report = one(template, Some(point), Showing::Nothing);
        self.runs += 1;
        let place = format!(
            "{} call {} {} x{}",
            point.role.as_str(),
            point.call,
            point.fault.as_str(),
            point.times
        );
        for violation in &report.violations {
            self.failures.push(format!("{place}: {violation}"));
        }
        if report.violations.is_empty() && report.outcome != expected {
            let found = &report.outcome;
            self.failures
                .push(format!("{place}: {found} instead of {expected}"));
        }
        let took_ms = report.counts.get("answered after ms").copied();
        let took_ms = took_ms.unwrap_or_default();
        if took_ms > self.slowest.0 {
            self.slowest = (took_ms, place);
        }
    }
}
