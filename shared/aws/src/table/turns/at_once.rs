//! Accepting and ending a turn whose answer is there already.

use aws_sdk_dynamodb::{
    error::BuildError,
    operation::transact_write_items::TransactWriteItemsError,
    types::{Put, TransactWriteItem},
};
use sparkle_core::{
    frame::{HistoryEntry, StoredFrame, TurnJob},
    unit::Timestamp,
};
use sparkle_wire::job;

use super::{Given, NEW, Turns, expiry, given_attributes, segment, token};
use crate::{
    meter::Settlement,
    table::{TableError, conversations::Conversations, leases::Leases, number, text},
};

/// An answer that is there before its turn is begun.
#[derive(Debug, Clone, Copy)]
pub struct AtOnce<'a> {
    /// Messages of the conversation before it.
    pub length: u64,
    /// What was asked.
    pub question: &'a HistoryEntry,
    /// What is answered.
    pub answer: &'a HistoryEntry,
    /// The whole stream.
    pub frames: &'a [StoredFrame],
    /// What it is, so that it can be named.
    pub given: Given<'a>,
    /// What it saves.
    pub settlement: Settlement<'a>,
    /// When.
    pub at: Timestamp,
}

impl Turns {
    /// Accepts and ends a turn whose answer is there already, if no other turn of its conversation waits:
    /// its frames, what the conversation gains and what it saves, all at once; whether it did. It does not if the
    /// request was accepted before, another turn waits, or the conversation has changed: then the turn is to be
    /// begun as any other. Cost: one transaction of 7 items.
    ///
    /// # Errors
    /// [`TableError`]: then it may have been done; [`Self::begin`] tells.
    pub async fn answer_at_once(
        &self,
        leases: &Leases,
        conversations: &Conversations,
        turn: &TurnJob,
        digest: &str,
        at_once: &AtOnce<'_>,
    ) -> Result<bool, TableError> {
        let writes = self
            .writes_at_once(leases, conversations, turn, digest, at_once)
            .map_err(|_incomplete| TableError::Corrupt("user_id"))?;
        let answer = self
            .dynamo
            .transact_write_items()
            .set_transact_items(Some(writes))
            .client_request_token(token(&[&job::encode_turn(turn), "at once"]));
        match answer.send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(_)) => Ok(false),
                _ => Err(error.into()),
            },
        }
    }

    fn writes_at_once(
        &self,
        leases: &Leases,
        conversations: &Conversations,
        turn: &TurnJob,
        digest: &str,
        at_once: &AtOnce<'_>,
    ) -> Result<Vec<TransactWriteItem>, BuildError> {
        let AtOnce {
            length,
            question,
            answer,
            frames,
            given,
            settlement,
            at,
        } = *at_once;
        let last_seq = frames.last().map_or(0, |frame| frame.seq);
        let mut accepted = Put::builder();
        for (name, value) in given_attributes(given) {
            accepted = accepted.item(name, value);
        }
        let accepted = accepted
            .table_name(&self.turns)
            .item("user_id", text(&turn.user_id))
            .item("request_id", text(&turn.request_id))
            .item("digest", text(digest))
            .item("state", text("completed"))
            .item("last_seq", number(last_seq))
            .item("finished_at", number(at.unix_ms()))
            .item("expires_at", number(expiry(turn)))
            .condition_expression(NEW)
            .expression_attribute_values(":now", number(at.unix_seconds()))
            .build()?;
        let put = |put| TransactWriteItem::builder().put(put).build();
        let passed = leases.pass_by(turn, length + 2, at)?;
        let mut writes = vec![
            put(accepted),
            TransactWriteItem::builder().update(passed).build(),
        ];
        if let Some(item) = segment(turn, frames) {
            let kept = Put::builder().table_name(&self.frames).set_item(Some(item));
            writes.push(put(kept.build()?));
        }
        let (user, session) = (&turn.user_id, &turn.session_id);
        writes.extend(conversations.append(user, session, length, question, answer)?);
        writes.extend(settlement.writes(at)?);
        Ok(writes)
    }
}
