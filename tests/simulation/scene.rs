//! Short stories in which one safety line matters, that chance hardly ever comes by.
//!
//! Each is played as it is in every run of the tests, and with a line missing by `--mutations`.

use std::time::Duration;

use crate::{
    fault::{Cue, Fault},
    learner::{Act, Patience},
    process::Role,
    run::Report,
    sweep::RECOVERY_MAX_MS,
    world::REFUSED_LEASES,
};

/// One story.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    /// How many messages.
    pub(crate) turns: u32,
    pub(crate) asks: Asks,
    pub(crate) patience: Patience,
    /// What each device of the learner does.
    pub(crate) devices: &'static [&'static [Act]],
    pub(crate) cues: &'static [Cue],
    /// What must hold besides what always must.
    wrong: fn(&Report) -> Option<String>,
}

/// What the messages of a scene are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Scripts, all in one conversation.
    Scripts,
    /// One question again and again, each time in a conversation of its own.
    OneQuestion,
}

impl std::fmt::Debug for Scene {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(self.name)
    }
}

impl Scene {
    /// What is wrong with how it went.
    pub(crate) fn verdict(&self, report: &Report) -> Option<String> {
        let violation = report.violations.first().cloned();
        violation.or_else(|| (self.wrong)(report))
    }
}

const ALONE: &[Act] = &[Act::Say(0), Act::Stay];

/// Each says something, and follows what the other says, too.
const TWO_AT_ONCE: &[&[Act]] = &[
    &[Act::Say(0), Act::Await(1), Act::Resume(1), Act::Stay],
    &[Act::Say(1), Act::Await(0), Act::Resume(0), Act::Stay],
];

/// An update of the lease by its worker that takes listeners.
const TAKE: &str = ":listening";
/// One that takes the lease.
const ACQUIRE: &str = ":owner";
/// One of an account that holds what a call may cost.
const HOLD: &str = "size(holds)";
/// The transaction that ends a turn.
const FINISH: &str = "finished_at";
/// An update of the cache that says that a question is being asked.
const CLAIM: &str = "SET flight = :flight";
/// One that keeps the answer.
const KEEP: &str = "answer = :answer";

const fn worker(operation: &'static str, mark: &'static str, fault: Fault, span_ms: u64) -> Cue {
    Cue {
        role: Role::Worker,
        operation,
        mark,
        number: 0,
        fault,
        span: Duration::from_millis(span_ms),
    }
}

const fn message(operation: &'static str, mark: &'static str, fault: Fault, span_ms: u64) -> Cue {
    Cue {
        role: Role::Message,
        ..worker(operation, mark, fault, span_ms)
    }
}

/// All stories.
pub(crate) static SCENES: &[Scene] = &[
    Scene {
        name: "an owner wakes up at the end of its turn while another answers it",
        turns: 1,
        asks: Asks::Scripts,
        patience: Patience::Long,
        devices: &[ALONE],
        cues: &[worker(
            "TransactWriteItems",
            FINISH,
            Fault::HangBefore,
            17_000,
        )],
        wrong: nothing,
    },
    Scene {
        name: "an owner wakes up and takes a listener that another has taken",
        turns: 1,
        asks: Asks::Scripts,
        patience: Patience::Long,
        devices: &[
            ALONE,
            &[Act::Await(0), Act::Listen(1_000), Act::Resume(0), Act::Stay],
            &[
                Act::Await(0),
                Act::Listen(17_000),
                Act::Resume(0),
                Act::Stay,
            ],
        ],
        cues: &[worker("UpdateItem", TAKE, Fault::HangBefore, 18_000)],
        wrong: nothing,
    },
    Scene {
        name: "the end of a turn arrives again before the next one is taken",
        turns: 2,
        asks: Asks::Scripts,
        patience: Patience::Long,
        devices: &[&[Act::Say(0), Act::Say(1), Act::Stay]],
        cues: &[
            worker("TransactWriteItems", FINISH, Fault::Duplicated, 2_000),
            Cue {
                number: 1,
                ..worker("UpdateItem", ACQUIRE, Fault::HangBefore, 4_000)
            },
        ],
        wrong: nothing,
    },
    Scene {
        name: "the answer to a turn's beginning is lost",
        turns: 1,
        asks: Asks::Scripts,
        patience: Patience::Long,
        devices: &[ALONE],
        cues: &[message("TransactWriteItems", "waiting", Fault::CutAfter, 0)],
        wrong: nothing,
    },
    Scene {
        name: "a wish to listen arrives again when it is granted",
        turns: 1,
        asks: Asks::Scripts,
        patience: Patience::Long,
        devices: &[
            ALONE,
            &[Act::Await(0), Act::Listen(1_000), Act::Resume(0), Act::Stay],
        ],
        cues: &[message("UpdateItem", "ADD asked", Fault::Duplicated, 1_500)],
        wrong: doubled,
    },
    Scene {
        name: "two turns of a conversation, undisturbed",
        turns: 2,
        asks: Asks::Scripts,
        patience: Patience::Long,
        devices: &[&[Act::Say(0), Act::Say(1), Act::Stay]],
        cues: &[],
        wrong: waited,
    },
    Scene {
        name: "a message is said twice",
        turns: 1,
        asks: Asks::Scripts,
        patience: Patience::Long,
        devices: &[&[Act::Repeat(0), Act::Say(0), Act::Stay]],
        cues: &[],
        wrong: delivered_again,
    },
    Scene {
        name: "a worker dies before its first call, and the note of the ring arrives again after the next",
        turns: 3,
        asks: Asks::Scripts,
        patience: Patience::Short,
        devices: &[&[Act::Say(0), Act::Say(1), Act::Say(2), Act::Stay]],
        cues: &[
            worker("ChangeMessageVisibility", "", Fault::KillBefore, 0),
            message("UpdateItem", "SET rings", Fault::Duplicated, 15_000),
        ],
        wrong: slow,
    },
    Scene {
        name: "an owner that was told of no hold wakes up when its call is closed, billed and forgotten",
        turns: 1,
        asks: Asks::Scripts,
        patience: Patience::Long,
        devices: &[ALONE],
        cues: &[
            worker("UpdateItem", HOLD, Fault::CutAfter, 0),
            Cue {
                number: 1,
                ..worker("UpdateItem", HOLD, Fault::CutBefore, 0)
            },
            Cue {
                number: 2,
                ..worker("UpdateItem", HOLD, Fault::CutBefore, 0)
            },
            Cue {
                number: 1,
                ..worker("GetItem", "AccountsTable", Fault::HangBefore, 30_000)
            },
        ],
        wrong: nothing,
    },
    Scene {
        name: "an owner wakes up that is to close the call of a dead one, while its successor asks the model",
        turns: 1,
        asks: Asks::Scripts,
        patience: Patience::Long,
        devices: &[ALONE],
        cues: &[
            worker("UpdateItem", HOLD, Fault::KillAfter, 0),
            worker("Query", "IntentsTable", Fault::HangBefore, 17_000),
        ],
        wrong: again,
    },
    Scene {
        name: "a conversation is deleted while its next turn begins",
        turns: 2,
        asks: Asks::Scripts,
        patience: Patience::Long,
        devices: &[&[
            Act::Say(0),
            Act::Stay,
            Act::Delete,
            Act::Listen(300),
            Act::Say(1),
            Act::Stay,
        ]],
        cues: &[message(
            "GetItem",
            "SessionsTable",
            Fault::HangBefore,
            1_500,
        )],
        wrong: nothing,
    },
    Scene {
        name: "a question is asked again when its answer is kept",
        turns: 2,
        asks: Asks::OneQuestion,
        patience: Patience::Short,
        devices: &[&[
            Act::Say(0),
            Act::Stay,
            Act::Listen(2_000),
            Act::Say(1),
            Act::Stay,
        ]],
        cues: &[],
        wrong: again,
    },
    Scene {
        name: "a question is asked twice at once",
        turns: 2,
        asks: Asks::OneQuestion,
        patience: Patience::Short,
        devices: TWO_AT_ONCE,
        cues: &[],
        wrong: again,
    },
    Scene {
        name: "a worker dies when it has said that it asks for others, too",
        turns: 2,
        asks: Asks::OneQuestion,
        patience: Patience::Short,
        devices: TWO_AT_ONCE,
        cues: &[worker("UpdateItem", CLAIM, Fault::KillAfter, 0)],
        wrong: nothing,
    },
    Scene {
        name: "a worker dies between the end of its turn and keeping the answer",
        turns: 2,
        asks: Asks::OneQuestion,
        patience: Patience::Short,
        devices: TWO_AT_ONCE,
        cues: &[worker("TransactWriteItems", FINISH, Fault::KillAfter, 0)],
        wrong: nothing,
    },
    Scene {
        name: "an answer is kept late, when another's was kept and served",
        turns: 3,
        asks: Asks::OneQuestion,
        patience: Patience::Short,
        devices: &[
            &[
                Act::Say(0),
                Act::Await(1),
                Act::Resume(1),
                Act::Await(2),
                Act::Resume(2),
                Act::Stay,
            ],
            &[
                Act::Await(0),
                Act::Resume(0),
                Act::Say(1),
                Act::Stay,
                Act::Listen(2_000),
                Act::Say(2),
                Act::Stay,
                Act::Listen(60_000),
            ],
        ],
        cues: &[worker("UpdateItem", KEEP, Fault::HangBefore, 40_000)],
        wrong: nothing,
    },
    Scene {
        name: "an answer is kept again when it was served",
        turns: 2,
        asks: Asks::OneQuestion,
        patience: Patience::Short,
        devices: &[&[
            Act::Say(0),
            Act::Stay,
            Act::Listen(500),
            Act::Say(1),
            Act::Stay,
            Act::Listen(10_000),
        ]],
        cues: &[worker("UpdateItem", KEEP, Fault::Duplicated, 5_000)],
        wrong: again,
    },
];

fn nothing(_report: &Report) -> Option<String> {
    None
}

fn count(report: &Report, what: &str) -> u64 {
    report.counts.get(what).copied().unwrap_or_default()
}

/// Nothing was lost and nobody died, so every connection gets every frame once.
fn doubled(report: &Report) -> Option<String> {
    let doubles = count(report, "raw doubles");
    (doubles > 0).then(|| format!("{doubles} frames came twice to a connection"))
}

/// Turns of one conversation come to their workers one after the other.
fn waited(report: &Report) -> Option<String> {
    let refused = count(report, REFUSED_LEASES);
    (refused > 0).then(|| format!("a worker asked {refused} times for a lease that another held"))
}

/// What one worker has asked the model nobody asks again.
fn again(report: &Report) -> Option<String> {
    let calls = count(report, "model calls");
    (calls != 1).then(|| format!("{calls} calls of the model, and one was enough"))
}

/// What is queued twice is delivered once.
fn delivered_again(report: &Report) -> Option<String> {
    let deliveries = count(report, "deliveries");
    (deliveries != 1).then(|| format!("one turn, but {deliveries} deliveries"))
}

/// A turn is run within 15 s of the first moment at which somebody asks and nobody has run it for 15 s.
fn slow(report: &Report) -> Option<String> {
    let took_ms = count(report, "answered after ms");
    (took_ms > RECOVERY_MAX_MS).then(|| format!("its learner asked for {took_ms} ms"))
}
