//! Erasing a learner.
//!
//! First no model is asked for them any more, so that nothing is spent on an account that is going; then all of
//! theirs is removed, round after round until a round finds nothing, and their lines in the ledger go to a
//! pseudonym; the account goes last. Whatever crashes in between, the same command goes on. What cannot be
//! erased here: messages that wait on a queue (24 h, in a dead-letter queue 14 days) and backups.

use std::{collections::BTreeMap, io::Write};

use anyhow::{bail, ensure};
use sparkle_core::id::UserId;

use crate::Desk;

/// Rounds until a learner counts as active.
const ROUNDS_MAX: usize = 20;

impl<W: Write> Desk<'_, W> {
    pub(crate) async fn erase(&mut self, user: &UserId, pseudonym: &UserId) -> anyhow::Result<()> {
        self.suspend(user).await?;
        self.settled(user).await?;
        let mut erased: BTreeMap<&str, usize> = BTreeMap::new();
        let mut kept = 0;
        let mut is_clean = false;
        for _ in 0..ROUNDS_MAX {
            let mut found = 0;
            for (name, belongings) in self.tables.belongings(user).await? {
                belongings.remove().await?;
                found += belongings.count();
                *erased.entry(name).or_default() += belongings.count();
            }
            let moved = self.tables.ledger.pseudonymize(user, pseudonym).await?;
            kept += moved;
            is_clean = found + moved == 0;
            if is_clean {
                break;
            }
        }
        ensure!(
            is_clean,
            "{user} is using Sparkle just now: withdraw their token where it was issued, then erase again"
        );
        self.settled(user).await?;
        ensure!(
            self.tables.accounts.close(user).await?,
            "{user} was resumed meanwhile, or a call is about to be made: erase again"
        );
        writeln!(self.out, "{user} is erased:")?;
        for (name, count) in erased {
            writeln!(self.out, "{count:>9} {name}")?;
        }
        Ok(writeln!(
            self.out,
            "{kept:>9} lines and sums of the ledger, which stay without a name"
        )?)
    }

    /// Nothing of an account may go before all that it pays for is in the ledger.
    async fn settled(&self, user: &UserId) -> anyhow::Result<()> {
        match self.tables.intents.of(user, "").await?.len() {
            0 => Ok(()),
            calls => bail!(
                "calls of {user} that are not in the ledger yet: {calls}. The learner is suspended; erase again in \
                 a minute, or in 21 if a worker has died"
            ),
        }
    }
}
