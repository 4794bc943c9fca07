//! What others than the worker may do: see how things stand, ask for something, have a turn run.

use sparkle_core::{
    id::{RequestId, SessionId, UserId},
    unit::Timestamp,
};

use super::{ASKED_MAX, Condition, Leases, Listener, Standing, conditionally, set, standing};
use crate::table::{TableError, number, text};

/// What became of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The worker will see it.
    Recorded,
    /// The turn does not wait (any more).
    Over,
    /// Too many have asked already.
    TooMany,
}

impl Leases {
    /// How things stand in a conversation; none if nothing was asked in it lately.
    /// Cost: one strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn find(
        &self,
        user: &UserId,
        session: &SessionId,
    ) -> Result<Option<Standing>, TableError> {
        let item = self.item(user, session).await?;
        item.as_ref().map(standing).transpose()
    }

    /// Asks for a turn to be stopped, whether it waits or runs; none if it does neither.
    /// Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn cancel(
        &self,
        user: &UserId,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<Standing>, TableError> {
        self.wish(user, session, request, "ADD cancelled :requests")
            .await
    }

    /// Asks for a turn to be stopped and to leave nothing in its conversation, which is being deleted.
    /// Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn forget(
        &self,
        user: &UserId,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<Standing>, TableError> {
        let both = "ADD cancelled :requests, forgotten :requests";
        self.wish(user, session, request, both).await
    }

    async fn wish(
        &self,
        user: &UserId,
        session: &SessionId,
        request: &RequestId,
        update: &str,
    ) -> Result<Option<Standing>, TableError> {
        let wish = self
            .update(user, session)
            .update_expression(update)
            .condition_expression("contains(waiting, :request)")
            .expression_attribute_values(":request", text(request))
            .expression_attribute_values(":requests", set([request.to_string()]));
        match conditionally(wish).await? {
            Condition::Held(item) => Ok(Some(standing(&item)?)),
            Condition::Failed(_) => Ok(None),
        }
    }

    /// Asks for a turn's frames, from its worker. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn ask(
        &self,
        user: &UserId,
        session: &SessionId,
        listener: &Listener,
    ) -> Result<Asked, TableError> {
        let this = listener.to_text();
        let ask = self
            .update(user, session)
            .update_expression("ADD asked :asked")
            .condition_expression(
                "contains(waiting, :request) AND NOT contains(listening, :this) \
                 AND (attribute_not_exists(asked) OR size(asked) < :most)",
            )
            .expression_attribute_values(":request", text(&listener.request_id))
            .expression_attribute_values(":asked", set([this.clone()]))
            .expression_attribute_values(":this", text(&this))
            .expression_attribute_values(":most", number(ASKED_MAX));
        let Condition::Failed(item) = conditionally(ask).await? else {
            return Ok(Asked::Recorded);
        };
        let found = standing(&item.unwrap_or_default())?;
        // The second try of a call whose first answer was lost.
        if found.listening(&listener.request_id).contains(listener) {
            return Ok(Asked::Recorded);
        }
        Ok(if found.waits(&listener.request_id) {
            Asked::TooMany
        } else {
            Asked::Over
        })
    }

    /// Notes that a turn was queued again, as ring number `rings` of its conversation. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn note_ring(
        &self,
        user: &UserId,
        session: &SessionId,
        rings: u64,
        now: Timestamp,
    ) -> Result<(), TableError> {
        let note = self
            .update(user, session)
            .update_expression("SET rings = :rings, rung_at = :now")
            .condition_expression("attribute_not_exists(rings) OR rings < :rings")
            .expression_attribute_values(":rings", number(rings))
            .expression_attribute_values(":now", number(now.unix_ms()));
        conditionally(note).await?;
        Ok(())
    }
}
