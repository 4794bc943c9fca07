//! Copies of profiles in a warm instance, and whether one may still be used (R-PROF-2).
//!
//! Each learner has a [`Stamp`], which every change of the profile replaces and every message of the learner
//! brings along. A copy is used only under the very stamp under which it was read: it was read after that stamp
//! was given out, so it holds every change that was made before, and no clock is compared with another's. A
//! stamp that was lost (its item lives an hour longer than the learner is silent, longer than a copy) or erased is
//! followed by one that was never there before, so the copy is not used again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use super::UserContext;
use crate::{id::UserId, unit::Timestamp};

/// Most learners whose profiles an instance keeps: about 5 MB.
pub const COPIES_MAX: usize = 10_000;
/// Longest life of a copy (R-PROF-2).
pub const COPY_LIFE: Duration = Duration::from_mins(30);

/// Stands for a state of a learner's profile: another after every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp(i64);

impl Stamp {
    /// None for 0 and below, which no stamp is.
    pub fn of_number(number: i64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// As it is stored and sent.
    pub fn number(self) -> i64 {
        self.0
    }
}

/// The profiles that an instance keeps, of the learners that it met last.
#[derive(Debug)]
pub struct Copies {
    most: usize,
    by_user: HashMap<UserId, Copy>,
    /// By when they were last used: the number of that use.
    by_use: BTreeMap<u64, UserId>,
    uses: u64,
}

#[derive(Debug)]
struct Copy {
    context: Arc<UserContext>,
    stamp: Stamp,
    read_at: Timestamp,
    used: u64,
}

impl Copies {
    /// None yet, and never more than `most`.
    pub fn up_to(most: usize) -> Self {
        Self {
            most,
            by_user: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
        }
    }

    /// The copy that was read under this stamp, not longer than [`COPY_LIFE`] ago.
    pub fn current(
        &mut self,
        user: &UserId,
        stamp: Stamp,
        now: Timestamp,
    ) -> Option<Arc<UserContext>> {
        let copy = self.by_user.get_mut(user)?;
        let is_fresh = copy.read_at <= now && now < copy.read_at.after(COPY_LIFE);
        if copy.stamp != stamp || !is_fresh {
            return None;
        }
        self.by_use.remove(&copy.used);
        self.uses += 1;
        copy.used = self.uses;
        self.by_use.insert(copy.used, user.clone());
        Some(Arc::clone(&copy.context))
    }

    /// Whatever is there, for want of better.
    pub fn any(&self, user: &UserId) -> Option<Arc<UserContext>> {
        self.by_user.get(user).map(|copy| Arc::clone(&copy.context))
    }

    /// Keeps what was read at a moment, after this stamp had been given out, in place of the copy that was
    /// used longest ago.
    pub fn keep(&mut self, context: Arc<UserContext>, stamp: Stamp, read_at: Timestamp) {
        self.uses += 1;
        let (user, used) = (context.user_id.clone(), self.uses);
        self.by_use.insert(used, user.clone());
        let copy = Copy {
            context,
            stamp,
            read_at,
            used,
        };
        if let Some(before) = self.by_user.insert(user, copy) {
            self.by_use.remove(&before.used);
        }
        while self.by_user.len() > self.most
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_user.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1_000)
    }

    fn stamp(number: i64) -> Stamp {
        Stamp::of_number(number).unwrap()
    }

    fn learner(number: usize, version: u64) -> Arc<UserContext> {
        let user = UserId::parse(format!("learner-{number}")).unwrap();
        Arc::new(UserContext {
            version,
            ..UserContext::unknown(user)
        })
    }

    #[test]
    fn a_copy_is_used_under_its_own_stamp_and_for_half_an_hour() {
        let mut copies = Copies::up_to(10);
        let ann = learner(1, 1);
        let user = &ann.user_id;
        assert_eq!(copies.current(user, stamp(5), at(0)), None);
        copies.keep(Arc::clone(&ann), stamp(5), at(0));
        assert!(copies.current(user, stamp(5), at(1_799)).is_some());
        for (number, seconds) in [(5, 1_800), (5, -1), (6, 1), (4, 1)] {
            assert_eq!(copies.current(user, stamp(number), at(seconds)), None);
        }
        assert!(copies.any(user).is_some());
    }

    #[test]
    fn the_learner_who_was_met_longest_ago_makes_room() {
        let mut copies = Copies::up_to(2);
        let learners = [1, 2, 3].map(|number| learner(number, 1));
        let [one, two, three] = &learners;
        copies.keep(Arc::clone(one), stamp(1), at(0));
        copies.keep(Arc::clone(two), stamp(1), at(0));
        assert!(copies.current(&one.user_id, stamp(1), at(0)).is_some());
        copies.keep(Arc::clone(three), stamp(1), at(0));
        let is_kept = learners
            .each_ref()
            .map(|learner| copies.any(&learner.user_id).is_some());
        assert_eq!(is_kept, [true, false, true]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Change,
        Erase,
        Turn { instance: usize, seconds: i64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let turn = (0..3_usize, 0..2_000_i64)
            .prop_map(|(instance, seconds)| Step::Turn { instance, seconds });
        let step = prop_oneof![1 => Just(Step::Change), 1 => Just(Step::Erase), 4 => turn];
        prop::collection::vec(step, 1..80)
    }

    proptest! {
        /// The table and the stamp's item as they are written, and instances that share nothing. Clocks of
        /// instances differ by minutes.
        #[test]
        fn a_turn_sees_every_change_that_was_made_before_it_was_asked(steps in steps()) {
            let skews = [0, -400, 300];
            let mut instances = skews.map(|_| Copies::up_to(4));
            let (mut version, mut kept, mut now) = (0_u64, None::<i64>, 1_000_i64);
            for step in steps {
                now += 1;
                match step {
                    Step::Change => {
                        version += 1;
                        kept = Some(kept.unwrap_or(now * 1_000) + 1);
                    }
                    Step::Erase => {
                        version = 0;
                        kept = None;
                    }
                    Step::Turn { instance, seconds } => {
                        now += seconds;
                        let number = *kept.get_or_insert(now * 1_000);
                        let clock = at(now + skews[instance]);
                        let copies = &mut instances[instance];
                        let user = learner(1, 0).user_id.clone();
                        let seen = copies.current(&user, stamp(number), clock).unwrap_or_else(|| {
                            let read = learner(1, version);
                            copies.keep(Arc::clone(&read), stamp(number), clock);
                            read
                        });
                        prop_assert_eq!(seen.version, version);
                    }
                }
            }
        }
    }
}
