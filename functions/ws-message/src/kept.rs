//! Answering a `chat` at once with what was kept, where nothing else of its conversation is under way.
//!
//! Only the learner's own answers: what others asked first takes as long as a fresh answer, which is the
//! worker's to wait. Whatever is in the way, the turn goes the way of all others.

use std::time::Duration;

use sparkle_aws::{
    failure::{Failure, causes},
    meter::Settlement,
    metric,
    table::turns::{AtOnce, Given},
};
use sparkle_core::{
    cache::{
        entry::{Kept, Origin, Standing},
        sought::Sought,
    },
    frame::{
        Ack, Body, CachePolicy, Done, FinishReason, HistoryEntry, Speaker, TurnJob, Usage, deltas,
        last_frames,
    },
    id::CallGroup,
    ledger::Bill,
    unit::{MicroUsd, Timestamp, TokenUsage},
};
use sparkle_wire::frame;
use tokio::time::timeout;
use tracing::{info, warn};

use super::Answering;

/// How long an answer is looked for: without the cache a turn is accepted in milliseconds.
const LOOK_TIME_MAX: Duration = Duration::from_millis(500);

impl Answering<'_> {
    /// Answers a turn with what was kept for its question, if it can be; whether it was. Cost: at once two
    /// strongly consistent reads; with an answer one transaction of 7 items, and a post for each frame.
    pub(crate) async fn answer_at_once(&self, turn: &TurnJob, digest: &str) -> bool {
        let (app, now) = (self.app, self.asked.now);
        if turn.cache == CachePolicy::Bypass {
            return false;
        }
        let manner = turn.manner.clone().unwrap_or_default();
        let sought = Sought::of_turn(turn, &manner, &turn.model, 0, &app.settings);
        let Some(sought) = sought.filter(|sought| !sought.is_for_all()) else {
            return false;
        };
        let (user, session) = (&turn.user_id, &turn.session_id);
        let look = async {
            tokio::join!(
                app.answers.find(&sought.place, now),
                app.conversations.length(user, session)
            )
        };
        let (kept, length) = match timeout(LOOK_TIME_MAX, look).await {
            Ok((Ok(Some(kept)), Ok(length))) => (kept, length),
            Ok((Ok(None), _)) => return false,
            Ok((Err(error), _) | (_, Err(error))) => {
                warn!(error = causes(&error), "the answer cache cannot be used");
                return false;
            }
            Err(_late) => {
                warn!("the answer cache takes too long");
                return false;
            }
        };
        if sought.standing == Standing::First && length > 0 {
            return false;
        }
        self.tell_kept(turn, digest, &sought, &kept, length).await
    }

    async fn tell_kept(
        &self,
        turn: &TurnJob,
        digest: &str,
        sought: &Sought,
        kept: &Kept,
        length: u64,
    ) -> bool {
        let (app, now) = (self.app, self.asked.now);
        let call = CallGroup::of_turn(&turn.request_id, turn.accepted_at).call(1);
        let bill = Bill::saved(turn, call, &sought.place, kept.tokens, now);
        let frames = last_frames(turn, 0, bodies(kept, &bill), now);
        let stored: Vec<_> = frames.iter().filter_map(frame::stored).collect();
        let answer_tokens = Some(kept.tokens.completion_tokens);
        let at_once = AtOnce {
            length,
            question: &entry(turn, Speaker::User, &turn.message, None, now),
            answer: &entry(turn, Speaker::Assistant, &kept.text, answer_tokens, now),
            frames: &stored,
            given: Given {
                response_id: &kept.response_id,
                place: Some(&sought.place),
                verdict: None,
            },
            settlement: Settlement {
                meter: &app.meter,
                purse: None,
                bill: &bill,
            },
            at: now,
        };
        let (leases, conversations) = (&app.leases, &app.conversations);
        let answered = app
            .turns
            .answer_at_once(leases, conversations, turn, digest, &at_once);
        match answered.await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) => {
                // Perhaps it was: then the turn is found answered.
                warn!(error = causes(&error), "not answered at once");
                return false;
            }
        }
        let level = Origin::Exact.as_str();
        metric::count("cache_lookups_total", 1, &[("level", level)], now);
        info!(level, "answered at once by what was kept");
        let post = async {
            let ack = Ack {
                session_id: Some(turn.session_id.clone()),
                ..Ack::default()
            };
            self.acknowledge(&turn.request_id, ack).await?;
            for frame in &frames {
                self.asked.post(frame).await?;
            }
            Ok::<(), Failure>(())
        };
        let (posted, ()) = tokio::join!(post, app.meter.send(&bill));
        if let Err(failure) = posted {
            // It is answered and kept: the client asks again, or resumes.
            warn!(error = causes(&failure), "an answer is not posted");
        }
        true
    }
}

fn bodies(kept: &Kept, bill: &Bill) -> Vec<Body> {
    let mut bodies = deltas(&kept.text, "");
    bodies.push(Body::Usage(Usage {
        tokens: TokenUsage::default(),
        estimated: false,
        cost: MicroUsd::default(),
        saved_tokens: bill.call.saved_tokens,
    }));
    bodies.push(Body::Done(Done {
        response_id: kept.response_id.clone(),
        finish_reason: FinishReason::Stop,
        origin: Origin::Exact,
        summary_used: false,
    }));
    bodies
}

fn entry(
    turn: &TurnJob,
    speaker: Speaker,
    text: &str,
    tokens: Option<u32>,
    at: Timestamp,
) -> HistoryEntry {
    HistoryEntry {
        speaker,
        text: text.to_owned(),
        at,
        request_id: turn.request_id.clone(),
        tokens,
    }
}
