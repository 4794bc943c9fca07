//! Copies of what is kept, in a warm instance: bounded, and brought up to date before each use.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sparkle_aws::{
    damage::Damaged,
    table::{
        TableError,
        answers::{Answers, Candidate, Page},
    },
};
use sparkle_core::{
    cache::{
        canonical::Canonical,
        entry::{Namespace, Place, Scope},
    },
    unit::Timestamp,
};
use sparkle_embed::{Shelf, Vector, VectorVersion};

/// Rows that are read into a copy at first: the newest ones. Their vectors take 4 MB.
const ROWS_AT_FIRST: usize = 10_000;
/// Most queries for them: rows that are damaged, or long, must not make one turn read a table.
const QUERIES_AT_FIRST: usize = 64;
/// Rows with which a copy is given up, and read anew.
const ROWS_MAX: usize = 20_000;
/// Most copies of an instance.
const SHELVES_MAX: usize = 32;
/// Most rows of all copies together: with what a row holds beside its vector some 60 MB.
const ROWS_IN_ALL_MAX: usize = 60_000;
/// How late a row may come under an earlier mark: its worker was slow, or its clock behind.
const LATE: Duration = Duration::from_mins(1);
/// How alike questions must be at least to be judged, centred: below it nothing asks the same in practice, and each
/// judgement costs time.
const NEAR_MIN: f64 = 0.5;

#[derive(Debug, Default)]
pub(crate) struct Shelves(Mutex<HashMap<(Scope, Namespace), Copied>>);

/// A question whose answer is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) mark: String,
    pub(crate) digest: String,
    pub(crate) question: String,
    expires_at: i64,
}

/// One that is near, and how near.
#[derive(Debug)]
pub(crate) struct Near {
    pub(crate) row: Row,
    pub(crate) similarity: f64,
}

#[derive(Debug)]
struct Copied {
    shelf: Shelf,
    /// None: it was taken out.
    rows: Vec<Option<Row>>,
    /// Of all that were read.
    marks: HashSet<String>,
    newest: Option<String>,
    used_at: Timestamp,
}

impl Shelves {
    /// Brings the copy of a namespace up to date; whether anything is in it. Cost: one query; at first one for some
    /// 1,500 rows.
    pub(crate) async fn refresh(
        &self,
        answers: &Answers,
        place: &Place,
        version: &VectorVersion,
        now: Timestamp,
    ) -> Result<bool, TableError> {
        let (scope, namespace) = (&place.scope, &place.namespace);
        let newest = self.newest(place, version, now);
        let word = version.to_string();
        let mut found = Vec::new();
        if let Some(mark) = newest {
            // Some that came late have earlier marks.
            let late = now.unix_ms() - i64::try_from(LATE.as_millis()).unwrap_or(0);
            let late = format!("{}/v/{word}/{late:013}/", namespace.as_str());
            let mut rest = Some(mark.min(late));
            while let Some(mark) = rest {
                let page = Page::After(&mark);
                let more = answers
                    .candidates(scope, namespace, &word, page, now)
                    .await?;
                rest = more.rest;
                found.extend(more.found);
            }
            return Ok(self.add(place, *version, found, now));
        }
        let mut before = None;
        for _ in 0..QUERIES_AT_FIRST {
            let page = Page::Before(before.as_deref());
            let more = answers
                .candidates(scope, namespace, &word, page, now)
                .await?;
            before = more.rest;
            found.extend(more.found);
            if before.is_none() || found.len() >= ROWS_AT_FIRST {
                break;
            }
        }
        found.truncate(ROWS_AT_FIRST);
        found.reverse();
        Ok(self.add(place, *version, found, now))
    }

    /// The newest row of a copy that is there.
    fn newest(&self, place: &Place, version: &VectorVersion, now: Timestamp) -> Option<String> {
        let mut shelves = self.lock();
        let copied = shelves.get_mut(&key(place))?;
        copied.used_at = now;
        let is_full = copied.rows.len() > ROWS_MAX;
        if is_full || copied.shelf.version() != *version {
            // The oldest rows go with it: the newest ones are read again.
            shelves.remove(&key(place));
            return None;
        }
        copied.newest.clone()
    }

    fn add(
        &self,
        place: &Place,
        version: VectorVersion,
        found: Vec<Candidate>,
        now: Timestamp,
    ) -> bool {
        let mut shelves = self.lock();
        let key = key(place);
        let rows = |shelves: &HashMap<_, Copied>| -> usize {
            shelves.values().map(|copied| copied.rows.len()).sum()
        };
        while (!shelves.contains_key(&key) && shelves.len() >= SHELVES_MAX)
            || rows(&shelves) + found.len() > ROWS_IN_ALL_MAX
        {
            let others = shelves.iter().filter(|(other, _)| **other != key);
            let oldest = others.min_by_key(|(_, copied)| copied.used_at);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            shelves.remove(&oldest);
        }
        let copied = shelves.entry(key).or_insert_with(|| Copied {
            shelf: Shelf::new(version),
            rows: Vec::new(),
            marks: HashSet::new(),
            newest: None,
            used_at: now,
        });
        let taken = found
            .into_iter()
            .map(|candidate| copied.add(version, candidate));
        Damaged::Candidate.count(taken.filter(|taken| !taken).count(), now);
        !copied.shelf.is_empty()
    }

    /// The nearest rows that are near enough, the nearest first. One whose words are not of the question that it
    /// leads to would be judged by other words than it answers: it goes.
    pub(crate) fn nearest(
        &self,
        place: &Place,
        vector: &Vector,
        count: usize,
        now: Timestamp,
    ) -> Vec<Near> {
        let mut shelves = self.lock();
        let Some(copied) = shelves.get_mut(&key(place)) else {
            return Vec::new();
        };
        // Some of them may be gone.
        let neighbours = copied.shelf.nearest(vector, 8 * count, NEAR_MIN);
        neighbours
            .unwrap_or_default()
            .into_iter()
            .filter_map(|neighbour| {
                let slot = copied.rows.get_mut(neighbour.row)?;
                let row = slot.clone()?;
                if !row.leads_to_its_answer() {
                    *slot = None;
                    Damaged::Candidate.count(1, now);
                    return None;
                }
                let similarity = neighbour.similarity;
                (row.expires_at > now.unix_seconds()).then_some(Near { row, similarity })
            })
            .take(count)
            .collect()
    }

    /// Takes a row out of a copy.
    pub(crate) fn take_out(&self, place: &Place, row: &Row) {
        let mut shelves = self.lock();
        let Some(copied) = shelves.get_mut(&key(place)) else {
            return;
        };
        for other in &mut copied.rows {
            if other.as_ref().is_some_and(|other| other.mark == row.mark) {
                *other = None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Scope, Namespace), Copied>> {
        // A panic elsewhere leaves a copy with a row too few at worst.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copied {
    /// Whether a candidate is in the copy now. One whose vector is none of this version is passed over: it is
    /// damaged.
    fn add(&mut self, version: VectorVersion, candidate: Candidate) -> bool {
        if !self.marks.insert(candidate.mark.clone()) {
            return true;
        }
        let newest = self.newest.take();
        self.newest = newest.max(Some(candidate.mark.clone()));
        let vector = Vector::from_bytes(version, &candidate.vector);
        let pushed = vector.and_then(|vector| self.shelf.push(&vector));
        if pushed.is_ok() {
            self.rows.push(Some(Row {
                mark: candidate.mark,
                digest: candidate.digest,
                question: candidate.question,
                expires_at: candidate.expires_at,
            }));
        }
        pushed.is_ok()
    }
}

impl Row {
    fn leads_to_its_answer(&self) -> bool {
        let form = Canonical::of(&self.question);
        form.is_some_and(|form| form.digest() == self.digest)
    }
}

fn key(place: &Place) -> (Scope, Namespace) {
    (place.scope.clone(), place.namespace.clone())
}
