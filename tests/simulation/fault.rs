//! What goes wrong, and when: everything follows from the seed.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use tokio::time::Instant;

use crate::{
    engines::{Call, Service},
    process::{Process, Role},
};

/// Something that happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// An error status, nothing done.
    Refused,
    /// The connection breaks before the service heard of it.
    CutBefore,
    /// The connection breaks although it was done.
    CutAfter,
    /// It takes long to arrive.
    LateRequest,
    /// The answer takes long to arrive.
    LateAnswer,
    /// It arrives twice, the second time later.
    Duplicated,
    /// The process dies before the call leaves.
    KillBefore,
    /// The process dies when it was done.
    KillAfter,
    /// The process hangs before the call leaves.
    HangBefore,
    /// The process hangs when it was done.
    HangAfter,
}

impl Fault {
    pub(crate) const ALL: [Self; 10] = [
        Self::Refused,
        Self::CutBefore,
        Self::CutAfter,
        Self::LateRequest,
        Self::LateAnswer,
        Self::Duplicated,
        Self::KillBefore,
        Self::KillAfter,
        Self::HangBefore,
        Self::HangAfter,
    ];

    /// The word in traces and tables.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::CutBefore => "cut before",
            Self::CutAfter => "cut after",
            Self::LateRequest => "late request",
            Self::LateAnswer => "late answer",
            Self::Duplicated => "duplicated",
            Self::KillBefore => "kill before",
            Self::KillAfter => "kill after",
            Self::HangBefore => "hang before",
            Self::HangAfter => "hang after",
        }
    }
}

/// The only fault of a run that is otherwise undisturbed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) role: Role,
    /// Which call of that function, from 0, counted over its processes.
    pub(crate) call: u32,
    pub(crate) fault: Fault,
    /// How many calls in a row.
    pub(crate) times: u32,
}

impl Point {
    /// In words.
    pub(crate) fn shown(&self) -> String {
        let (role, fault) = (self.role.as_str(), self.fault.as_str());
        format!("{role} call {} {fault} x{}", self.call, self.times)
    }
}

/// A fault that waits for a certain call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cue {
    pub(crate) role: Role,
    pub(crate) operation: &'static str,
    /// What the call's body says.
    pub(crate) mark: &'static str,
    /// Which of these calls, from 0, counted over the function's processes.
    pub(crate) number: u32,
    pub(crate) fault: Fault,
    /// How long the process hangs, or how late the call or its copy is.
    pub(crate) span: Duration,
}

/// A fault that hits a call now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Struck {
    pub(crate) fault: Fault,
    /// As its cue says; otherwise chance does.
    span: Option<Duration>,
}

/// How a run is disturbed.
#[derive(Debug)]
pub(crate) struct Plan {
    rng: Rng,
    /// From here on nothing goes wrong any more.
    pub(crate) calm_at: Instant,
    /// In ten thousandths of calls.
    rates: Vec<(Fault, u32)>,
    point: Option<Point>,
    /// With how many of its calls there were.
    cues: Vec<(Cue, u32)>,
    calls: BTreeMap<Role, u32>,
    /// In hundredths: queue deliveries doubled, queue deliveries late, deletions lost.
    pub(crate) doubled: u32,
    pub(crate) late: u32,
    pub(crate) undeleted: u32,
    /// Mean time between cuts of a socket.
    pub(crate) cut_every: Option<Duration>,
    /// Mean time between deaths and hangs of a worker at a moment of no call.
    pub(crate) stop_every: Option<Duration>,
}

impl Plan {
    /// Some kinds of faults, each more or less often: each seed has its own weather.
    pub(crate) fn random(seed: u64, calm_at: Instant) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut rates = Vec::new();
        for fault in Fault::ALL {
            let is_grave = !matches!(
                fault,
                Fault::Refused | Fault::LateAnswer | Fault::LateRequest | Fault::Duplicated
            );
            let most = if is_grave { 250 } else { 500 };
            if rng.bool() {
                rates.push((fault, rng.u32(10..most)));
            }
        }
        let mut share = |most: u32| if rng.bool() { rng.u32(1..most) } else { 0 };
        let (doubled, late, undeleted) = (share(20), share(30), share(20));
        let mut every =
            |from: u64, to: u64| rng.bool().then(|| Duration::from_secs(rng.u64(from..to)));
        let (cut_every, stop_every) = (every(3, 40), every(5, 60));
        Self {
            rng,
            calm_at,
            rates,
            point: None,
            cues: Vec::new(),
            calls: BTreeMap::new(),
            doubled,
            late,
            undeleted,
            cut_every,
            stop_every,
        }
    }

    /// Nothing goes wrong, but at one point.
    pub(crate) fn only(point: Option<Point>) -> Self {
        Self {
            rng: Rng::with_seed(0),
            calm_at: Instant::now() + Duration::from_hours(1000),
            rates: Vec::new(),
            point,
            cues: Vec::new(),
            calls: BTreeMap::new(),
            doubled: 0,
            late: 0,
            undeleted: 0,
            cut_every: None,
            stop_every: None,
        }
    }

    /// Nothing goes wrong, but on these cues.
    pub(crate) fn cued(cues: &[Cue]) -> Self {
        Self {
            cues: cues.iter().map(|&cue| (cue, 0)).collect(),
            ..Self::only(None)
        }
    }

    pub(crate) fn is_calm(&self) -> bool {
        Instant::now() >= self.calm_at
    }

    /// How many calls a function has made.
    pub(crate) fn calls(&self, role: Role) -> u32 {
        self.calls.get(&role).copied().unwrap_or_default()
    }

    /// What happens to a call.
    pub(crate) fn choose(&mut self, call: &Call, process: &Process) -> Option<Struck> {
        let number = self.calls.entry(process.role).or_default();
        let this = *number;
        *number += 1;
        if process.role == Role::Examiner {
            return None;
        }
        if !self.cues.is_empty() {
            return self.on_cue(call, process);
        }
        let by_chance = |fault| Struck { fault, span: None };
        if let Some(point) = self.point {
            let calls = point.call..point.call + point.times;
            let is_here = point.role == process.role && calls.contains(&this);
            return is_here.then_some(by_chance(point.fault));
        }
        if self.is_calm() {
            return None;
        }
        let mut drawn = self.rng.u32(0..10_000);
        for &(fault, rate) in &self.rates {
            if drawn < rate {
                return Some(by_chance(fault));
            }
            drawn -= rate;
        }
        None
    }

    fn on_cue(&mut self, call: &Call, process: &Process) -> Option<Struck> {
        let mut struck = None;
        for (cue, seen) in &mut self.cues {
            let is_one = cue.role == process.role
                && cue.operation == call.operation
                && call.body.to_string().contains(cue.mark);
            if is_one && *seen == cue.number {
                let (fault, span) = (cue.fault, Some(cue.span));
                struck = Some(Struck { fault, span });
            }
            *seen += u32::from(is_one);
        }
        struck
    }

    /// How long the network takes, one way.
    pub(crate) fn latency(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(1..12))
    }

    /// How long a process hangs, or how late something is: an attempt of the SDK waits 2 s, a lease
    /// holds for 15 s.
    pub(crate) fn span(&mut self, struck: Struck) -> Duration {
        if let Some(span) = struck.span {
            return span;
        }
        match struck.fault {
            Fault::HangBefore | Fault::HangAfter if self.point.is_some() => Duration::from_secs(40),
            Fault::HangBefore | Fault::HangAfter => {
                Duration::from_millis(self.rng.u64(500..45_000))
            }
            Fault::Duplicated => self.within(Duration::from_secs(3)),
            _ => Duration::from_millis(self.rng.u64(200..4_000)),
        }
    }

    /// The status of a refusal and what it says.
    pub(crate) fn refusal(&mut self, service: Service) -> (u16, &'static str) {
        match (service, self.rng.u32(0..4)) {
            (Service::Dynamo, 0) => (400, "ProvisionedThroughputExceededException"),
            (Service::Dynamo, 1) => (400, "ThrottlingException"),
            (Service::Dynamo, 2) => (400, "TransactionConflictException"),
            (Service::Sqs, 0) => (403, "RequestThrottled"),
            (Service::Sockets, 0..3) => (429, "LimitExceededException"),
            (_, 2) => (503, "ServiceUnavailable"),
            _ => (500, "InternalServerError"),
        }
    }

    /// True in so many of a hundred cases.
    pub(crate) fn happens(&mut self, hundredths: u32) -> bool {
        self.rng.u32(0..100) < hundredths
    }

    /// A moment within so long from now.
    pub(crate) fn within(&mut self, most: Duration) -> Duration {
        Duration::from_millis(
            self.rng
                .u64(0..u64::try_from(most.as_millis()).unwrap_or(1).max(1)),
        )
    }

    /// Another stream of random numbers.
    pub(crate) fn fork(&mut self) -> Rng {
        self.rng.fork()
    }
}

/// How long until something happens that happens every so often on average.
pub(crate) fn exponential(rng: &mut Rng, mean: Duration) -> Duration {
    let share = rng.f64().max(1e-9);
    mean.mul_f64(-share.ln()).min(mean * 8)
}
