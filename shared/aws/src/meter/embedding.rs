//! Paying for what a provider of vectors is asked.

use sparkle_core::{
    frame::TurnJob,
    id::CallId,
    ledger::{Bill, Call, Purpose},
    unit::{Timestamp, TokenUsage},
};

use super::{Meter, TableError};

impl Meter {
    /// Notes the call of a provider of vectors for a turn, which is over already, and has it written into the
    /// ledger. Nothing was held for it: what it costs is a hundredth of the answer that it may save. Cost: one
    /// write, and its line's message.
    ///
    /// # Errors
    /// [`TableError`]: then it is in no ledger.
    pub async fn note_embedding(
        &self,
        turn: &TurnJob,
        model: &str,
        (tokens, estimated): (u32, bool),
        now: Timestamp,
    ) -> Result<(), TableError> {
        let model = self.policies.catalogue(now).await?.any(model).at(now);
        let tokens = TokenUsage {
            prompt_tokens: tokens,
            ..TokenUsage::default()
        };
        let bill = Bill {
            call: Call {
                id: CallId::embedding(&turn.user_id, &turn.request_id, now),
                source: String::new(),
                user_id: turn.user_id.clone(),
                session_id: Some(turn.session_id.clone()),
                request_id: Some(turn.request_id.clone()),
                trace_id: Some(turn.trace_id.clone()),
                cost: Some(model.cost(tokens)),
                model: model.id.clone(),
                purpose: Purpose::Embedding,
                tokens,
                estimated,
                settled_at: now,
                saved_tokens: 0,
            },
            destination: None,
            served: None,
        };
        self.intents.note(&bill, now).await?;
        self.send(&bill).await;
        Ok(())
    }
}
