//! The learners whom a warm instance knows: their profiles, read once and kept (R-PROF-2).
//!
//! It is kept where a turn is accepted and goes with the turn from there: `ws-message` is busy with one for
//! milliseconds, a worker for seconds, so a learner meets the same few instances again.
//!
//! Nothing here fails a turn: where the table is away, what was known before will do, or the defaults.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sparkle_core::{
    id::UserId,
    profile::{COPIES_MAX, Copies, Stamp, UserContext},
    unit::Timestamp,
};
use tokio::time::timeout;
use tracing::warn;

use crate::{boot::Aws, config::ConfigError, failure::causes, metric, table::profiles::Profiles};

/// An answer is not kept waiting longer for how it is to be written.
const READ_TIME_MAX: Duration = Duration::from_secs(1);

/// The learners whom an instance knows.
#[derive(Debug)]
pub struct Learners {
    profiles: Profiles,
    copies: Mutex<Copies>,
}

impl Learners {
    /// Opens the table that `SPARKLE_TABLE_PROFILES` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            profiles: Profiles::open(aws)?,
            copies: Mutex::new(Copies::up_to(COPIES_MAX)),
        })
    }

    /// A learner's profile with every change that was made before `stamp` was given out; without a stamp, as it
    /// is now. Cost: nothing for a copy, else one strongly consistent read of 1 s at most.
    pub async fn of(
        &self,
        user: &UserId,
        stamp: Option<Stamp>,
        now: Timestamp,
    ) -> Arc<UserContext> {
        let copy = stamp.and_then(|stamp| self.copies().current(user, stamp, now));
        let (context, from) = match copy {
            Some(context) => (context, "copy"),
            None => self.read(user, stamp, now).await,
        };
        metric::count("profile_reads_total", 1, &[("from", from)], now);
        context
    }

    async fn read(
        &self,
        user: &UserId,
        stamp: Option<Stamp>,
        now: Timestamp,
    ) -> (Arc<UserContext>, &'static str) {
        match timeout(READ_TIME_MAX, self.profiles.find(user)).await {
            Ok(Ok(context)) => {
                let context = Arc::new(context);
                if let Some(stamp) = stamp {
                    self.copies().keep(Arc::clone(&context), stamp, now);
                }
                return (context, "table");
            }
            Ok(Err(error)) => warn!(error = causes(&error), "a profile cannot be read"),
            Err(_late) => warn!("a profile cannot be read in time"),
        }
        let known = self.copies().any(user);
        known.map_or_else(
            || (Arc::new(UserContext::unknown(user.clone())), "defaults"),
            |context| (context, "stale copy"),
        )
    }

    fn copies(&self) -> MutexGuard<'_, Copies> {
        // A panic elsewhere does not make a profile wrong.
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
