//! What one call of a model was for, consumed and cost: a line of the ledger (R-METER-5).

use crate::{
    cache::entry::Place,
    frame::{Destination, TurnJob},
    id::{CallId, RequestId, SessionId, TraceId, UserId},
    quota::Amount,
    unit::{MicroUsd, Timestamp, TokenUsage},
};

/// What a model was called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// To answer a learner.
    Chat,
    /// To shorten a conversation.
    Summary,
    /// To run a tool.
    Tool,
    /// To act by itself.
    Agent,
    /// To place a text among others.
    Embedding,
    /// To find what is related to what was studied.
    Expand,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Chat,
        Self::Summary,
        Self::Tool,
        Self::Agent,
        Self::Embedding,
        Self::Expand,
    ];

    /// The word in jobs, storage and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Summary => "summary",
            Self::Tool => "tool",
            Self::Agent => "agent",
            Self::Embedding => "embedding",
            Self::Expand => "expand",
        }
    }

    /// The purpose that a word stands for.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == word)
    }
}

/// One call of a model. Source and id together name its line: two producers may use the same ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which call of its source.
    pub id: CallId,
    /// Who billed it: empty for ourselves, else an outside producer's name, 1 to 64 of `A-Za-z0-9_-.:/@`.
    pub source: String,
    /// On whose account.
    pub user_id: UserId,
    /// In which conversation, if in one.
    pub session_id: Option<SessionId>,
    /// For which request, if for one.
    pub request_id: Option<RequestId>,
    /// In which trace, if in one.
    pub trace_id: Option<TraceId>,
    /// Which model, 1 to 64 of `A-Za-z0-9_-.:/@`.
    pub model: String,
    /// What for.
    pub purpose: Purpose,
    /// What it consumed.
    pub tokens: TokenUsage,
    /// Whether the provider sent no count and this is a bound of ours.
    pub estimated: bool,
    /// What it cost; none leaves that to the price list at [`Self::settled_at`].
    pub cost: Option<MicroUsd>,
    /// When what it consumed was known.
    pub settled_at: Timestamp,
    /// Tokens that were not paid for again, since the answer was there already.
    pub saved_tokens: u32,
}

impl Call {
    /// Whether nothing was called, since the answer was there already.
    pub fn is_hit(&self) -> bool {
        self.saved_tokens > 0 && self.tokens.total() == 0
    }
}

/// A call on its way into the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// The line to be written.
    pub call: Call,
    /// Where an alert goes that it sets off; none where nobody is connected.
    pub destination: Option<Destination>,
    /// Where the answer was kept that stood for the call, if none was made.
    pub served: Option<Place>,
}

/// What is no bill of an outside producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Implausible {
    #[error("no single call costs over {COST_MAX}")]
    Cost,
    #[error("it was settled more than {AGE_DAYS_MAX} days ago, or is to be in the future")]
    Time,
}

/// The most that a call of an outside producer can cost.
const COST_MAX: MicroUsd = MicroUsd::new(10_000_000_000);
/// As long as a message can be on its way: in a queue and in a dead-letter queue.
const AGE_DAYS_MAX: u32 = 30;
/// How much a producer's clock may be ahead, in milliseconds.
const AHEAD_MS_MAX: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Bill {
    /// Of a turn that was answered by what was kept: no call, but a line that says what it would have taken.
    pub fn saved(
        turn: &TurnJob,
        id: CallId,
        place: &Place,
        saved: TokenUsage,
        at: Timestamp,
    ) -> Self {
        Self {
            call: Call {
                id,
                source: String::new(),
                user_id: turn.user_id.clone(),
                session_id: Some(turn.session_id.clone()),
                request_id: Some(turn.request_id.clone()),
                trace_id: Some(turn.trace_id.clone()),
                model: turn.model.clone(),
                purpose: Purpose::Chat,
                tokens: TokenUsage::default(),
                estimated: false,
                cost: Some(MicroUsd::default()),
                settled_at: at,
                saved_tokens: saved.total(),
            },
            destination: Some(turn.destination.clone()),
            served: Some(place.clone()),
        }
    }

    /// Whether a bill can be true, whoever sent it.
    ///
    /// # Errors
    /// [`Implausible`]: of our own bills never.
    pub fn check(&self, now: Timestamp) -> Result<(), Implausible> {
        let Call {
            source,
            cost,
            settled_at,
            ..
        } = &self.call;
        if source.is_empty() {
            return Ok(());
        }
        if cost.is_some_and(|cost| cost > COST_MAX) {
            return Err(Implausible::Cost);
        }
        let age_ms = now.unix_ms().saturating_sub(settled_at.unix_ms());
        let is_of_time = (-AHEAD_MS_MAX..=i64::from(AGE_DAYS_MAX) * DAY_MS).contains(&age_ms);
        is_of_time.then_some(()).ok_or(Implausible::Time)
    }

    /// Of a call that consumes all that was granted, which may be less than was asked for. Nothing where that
    /// was given back before: then it is what it was.
    pub fn grant(&mut self, granted: Amount) {
        if granted != Amount::default() {
            let prompt = u64::from(self.call.tokens.prompt_tokens);
            let answer = granted.tokens.saturating_sub(prompt);
            self.call.tokens.completion_tokens = u32::try_from(answer).unwrap_or(u32::MAX);
            self.call.cost = Some(granted.money);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_764_000_000_000);

    fn bill(source: &str) -> Bill {
        Bill {
            call: Call {
                id: CallId::parse("c1").unwrap(),
                source: source.to_owned(),
                user_id: UserId::parse("ann").unwrap(),
                session_id: None,
                request_id: None,
                trace_id: None,
                model: "gpt-4o".to_owned(),
                purpose: Purpose::Chat,
                tokens: TokenUsage::bound(100, 0, 2_048),
                estimated: true,
                cost: Some(MicroUsd::new(500)),
                settled_at: NOW,
                saved_tokens: 0,
            },
            destination: None,
            served: None,
        }
    }

    #[test]
    fn an_outside_producer_bills_no_fortune_and_no_other_month() {
        let check = |change: fn(&mut Call)| {
            let mut bill = bill("tutor-tools");
            change(&mut bill.call);
            bill.check(NOW)
        };
        assert_eq!(check(|_| {}), Ok(()));
        let fortune = |call: &mut Call| call.cost = Some(MicroUsd::new(10_000_000_001));
        assert_eq!(check(fortune), Err(Implausible::Cost));
        let long_ago = |call: &mut Call| call.settled_at = Timestamp::from_unix_ms(1);
        assert_eq!(check(long_ago), Err(Implausible::Time));
        let to_come = |call: &mut Call| {
            call.settled_at = Timestamp::from_unix_ms(NOW.unix_ms() + AHEAD_MS_MAX + 1);
        };
        assert_eq!(check(to_come), Err(Implausible::Time));
        let mut ours = bill("");
        fortune(&mut ours.call);
        assert_eq!(ours.check(NOW), Ok(()), "ours was paid whatever it cost");
    }

    #[test]
    fn a_call_costs_at_most_what_was_granted() {
        let mut bill = bill("");
        bill.grant(Amount::default());
        assert_eq!(bill.call.tokens.completion_tokens, 2_048);
        let (tokens, money) = (164, MicroUsd::new(40));
        bill.grant(Amount { tokens, money });
        assert_eq!(bill.call.tokens.completion_tokens, 64);
        assert_eq!(bill.call.cost, Some(money));
    }
}
