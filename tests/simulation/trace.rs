//! What happened: counted, and written down in short lines whose hash is the run's identity.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::{self, Write as _},
    hash::{DefaultHasher, Hasher as _},
    sync::Mutex,
};

use crate::clock::Clock;

/// Lines kept for the end of a failed run's report.
const KEPT_MAX: usize = 4_000;

/// How much of a trace is shown while it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Showing {
    Nothing,
    Everything,
}

/// The record of one run.
pub(crate) struct Trace {
    clock: Clock,
    showing: Showing,
    written: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    hash: DefaultHasher,
    kept: VecDeque<String>,
    counts: Counts,
    violations: Vec<String>,
}

/// How often what happened.
pub(crate) type Counts = BTreeMap<String, u64>;

impl Trace {
    pub(crate) fn new(clock: Clock, showing: Showing) -> Self {
        Self {
            clock,
            showing,
            written: Mutex::default(),
        }
    }

    /// Writes a line.
    pub(crate) fn note(&self, line: fmt::Arguments<'_>) {
        let mut written = self.written.lock().unwrap();
        let mut kept = match written.kept.len() {
            KEPT_MAX.. => written.kept.pop_front().unwrap_or_default(),
            _ => String::new(),
        };
        kept.clear();
        write!(kept, "{:>9} {line}", self.clock.elapsed_ms()).unwrap();
        written.hash.write(kept.as_bytes());
        if self.showing == Showing::Everything {
            eprintln!("{kept}");
        }
        written.kept.push_back(kept);
    }

    /// Counts something.
    pub(crate) fn count(&self, what: &str, by: u64) {
        let mut written = self.written.lock().unwrap();
        match written.counts.get_mut(what) {
            Some(count) => *count += by,
            None => drop(written.counts.insert(what.to_owned(), by)),
        }
    }

    /// How often that was counted.
    pub(crate) fn counted(&self, what: &str) -> u64 {
        let written = self.written.lock().unwrap();
        written.counts.get(what).copied().unwrap_or_default()
    }

    /// Notes that something happened that must not.
    /// (`--except TEXT` lets runs go on past what is known already.)
    pub(crate) fn violation(&self, what: String) {
        let mut arguments = std::env::args().skip_while(|argument| argument != "--except");
        if let Some(known) = arguments.nth(1)
            && what.contains(&known)
        {
            self.note(format_args!("known: {what}"));
            return self.count("violations excepted", 1);
        }
        self.note(format_args!("VIOLATION {what}"));
        let mut written = self.written.lock().unwrap();
        if written.violations.len() < 20 {
            written.violations.push(what);
        }
    }

    pub(crate) fn is_violated(&self) -> bool {
        !self.written.lock().unwrap().violations.is_empty()
    }

    /// Violations, counts, the hash of all lines, and the last of them.
    pub(crate) fn take(&self) -> (Vec<String>, Counts, u64, Vec<String>) {
        let written = std::mem::take(&mut *self.written.lock().unwrap());
        (
            written.violations,
            written.counts,
            written.hash.finish(),
            written.kept.into(),
        )
    }
}
