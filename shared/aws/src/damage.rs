//! Counts what is kept in the answer cache and is not as any release writes it: `cache_corrupt_total`.
//!
//! What is damaged serves nobody and fails nobody, so that an operator learns of it by this count alone. A damaged
//! entry is counted each time that it is met.

use sparkle_core::unit::Timestamp;

use crate::metric;

/// A kind of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damaged {
    /// An answer, or the note that one is on its way.
    Answer,
    /// What an answer is found by.
    Candidate,
    /// How often answers were wrong.
    Evidence,
}

impl Damaged {
    /// Counts so many of them.
    pub fn count(self, entries: usize, now: Timestamp) {
        if entries == 0 {
            return;
        }
        let kind = match self {
            Self::Answer => "answer",
            Self::Candidate => "candidate",
            Self::Evidence => "evidence",
        };
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        metric::count("cache_corrupt_total", entries, &[("kind", kind)], now);
    }
}
