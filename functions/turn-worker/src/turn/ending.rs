//! The end of a turn: what its conversation gains, what is paid, its last frames.

use sparkle_aws::{
    failure::causes,
    meter::Settlement,
    table::{
        TableError,
        leases::Written,
        turns::{Ending, Gain, Given, Turn},
    },
};
use sparkle_core::{
    cache::{entry::Origin, verdict},
    frame::{self, Body, Done, ErrorBody, HistoryEntry, Speaker, StoredFrame, Usage},
    ledger::Bill,
    notice,
    unit::Timestamp,
};
use tokio::time::sleep;
use tracing::{error, warn};

use super::{Attempt, CONTENDED_PAUSE, FINISH_PAUSE, FINISH_TRIES_MAX, Stop};
use crate::{
    answer::{Answer, End},
    prompt::Composed,
    stream::{Stream, insist, is_away},
};

/// Why a turn could not be ended.
enum Unfinished {
    /// Its answer can never be kept.
    Unkeepable(TableError),
    Stopped(Stop),
}

impl From<Stop> for Unfinished {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

impl From<TableError> for Unfinished {
    fn from(error: TableError) -> Self {
        Self::Stopped(error.into())
    }
}

impl<'a> Attempt<'a> {
    /// Ends the turn with its answer, or with the word that it cannot be kept; and the last frames.
    pub(super) async fn end(
        &mut self,
        stream: &mut Stream<'a>,
        answer: Answer,
        bill: &mut Option<Bill>,
    ) -> Result<(Answer, Vec<StoredFrame>), Stop> {
        let last = stream.last(self.last_bodies(stream, &answer), self.clock.now());
        match self.finish(stream, &answer, bill.as_ref(), &last).await {
            Ok(()) => {
                if self.purse.is_none() && answer.hit.is_none() {
                    *bill = None;
                }
                return Ok((answer, last));
            }
            Err(Unfinished::Stopped(stop)) => return Err(stop),
            Err(Unfinished::Unkeepable(cause)) => {
                error!(error = causes(&cause), "the answer cannot be kept");
            }
        }
        // It will not be kept by trying again, so the learner is told, and the turn is over.
        let lost = answer.lost();
        *bill = self.bill(&lost);
        let last = stream.last(self.last_bodies(stream, &lost), self.clock.now());
        match self.finish(stream, &lost, bill.as_ref(), &last).await {
            Ok(()) => Ok((lost, last)),
            Err(Unfinished::Unkeepable(cause)) => Err(cause.into()),
            Err(Unfinished::Stopped(stop)) => Err(stop),
        }
    }

    /// Keeps the turn's last frames together with what the conversation gains.
    ///
    /// A conversation that was deleted under the turn does not come back with its answer.
    async fn finish(
        &mut self,
        stream: &mut Stream<'a>,
        answer: &Answer,
        bill: Option<&Bill>,
        last: &[StoredFrame],
    ) -> Result<(), Unfinished> {
        let Self { app, job, .. } = *self;
        let at = self.clock.now();
        let (question, reply) = self.said(answer, bill, at);
        let frames = stream.tail_with(last);
        let (mut is_deleted, mut may_be_ended, mut tries) = (false, false, 0);
        loop {
            tries += 1;
            let is_lost = answer.text.is_empty() || is_deleted || stream.is_forgotten();
            let gain = match &answer.end {
                End::Failed { .. } | End::Refused(_) => Gain::Failure,
                End::Finished { .. } if is_lost => Gain::Nothing,
                End::Finished { .. } => Gain::Answer {
                    length: self.length,
                    question: &question,
                    answer: &reply,
                },
            };
            let ending = Ending {
                lease: stream.lease(),
                known: stream.standing(),
                gain,
                given: self.given(answer),
                at,
                frames: &frames,
                settlement: self.settlement(bill),
            };
            let finished = app
                .turns
                .finish(&app.leases, &app.conversations, job, &ending);
            let error = match finished.await {
                Ok(()) => {
                    self.gained = ending.gain.messages();
                    return Ok(());
                }
                Err(error @ (TableError::Refused(_) | TableError::Corrupt(_))) => {
                    return Err(Unfinished::Unkeepable(error));
                }
                Err(error) if tries >= FINISH_TRIES_MAX => return Err(error.into()),
                Err(error) => error,
            };
            warn!(error = causes(&error), "the turn is not ended yet");
            if is_away(&error) {
                may_be_ended = true;
                sleep(FINISH_PAUSE).await;
            }
            // Lost, or somebody asked to listen, or the answer to an earlier try was lost.
            stream.look().await.map_err(|stop| match stop {
                Stop::Lost if may_be_ended => Stop::LostAtTheEnd,
                stop => stop,
            })?;
            if !stream.standing().waits(&job.request_id) {
                return Ok(());
            }
            let (user, session, request) = (&job.user_id, &job.session_id, &job.request_id);
            let turn = insist(async || app.turns.find(user, request, self.clock.now()).await);
            if let Some(Turn::Answered { .. }) = turn.await? {
                return self.leave(stream, at).await;
            }
            let now = insist(async || app.conversations.recent(user, session, 1).await).await?;
            is_deleted = now.length != self.length;
            if let Some(purse) = &mut self.purse
                && !insist(async || app.meter.look(purse).await).await?
            {
                // By another, who took this attempt for dead: the turn ends without.
                self.purse = None;
            }
            sleep(CONTENDED_PAUSE * tries).await;
        }
    }

    /// The turn is over: by this worker, if its lease held until then; by another otherwise, with other last
    /// frames.
    async fn leave(&self, stream: &Stream<'a>, at: Timestamp) -> Result<(), Unfinished> {
        let (app, lease) = (self.app, stream.lease());
        match insist(async || app.leases.look(lease).await).await? {
            Written::Kept(known) if known.waits(&self.job.request_id) => {
                app.leases.drop_first(lease, &known, at).await?;
                Ok(())
            }
            Written::Kept(_) => Ok(()),
            Written::Lost => Err(Stop::LostAtTheEnd.into()),
        }
    }

    fn settlement<'b>(&'b self, bill: Option<&'b Bill>) -> Option<Settlement<'b>> {
        let bill = bill?;
        let purse = self.purse.as_deref();
        // Without one either nothing was spent, or the call was settled by another.
        (purse.is_some() || bill.served.is_some()).then_some(Settlement {
            meter: &self.app.meter,
            purse,
            bill,
        })
    }

    /// What the learner is given, by which it can be named.
    fn given<'b>(&'b self, answer: &'b Answer) -> Option<Given<'b>> {
        let End::Finished { response_id, .. } = &answer.end else {
            return None;
        };
        let served = answer.hit.as_ref().map(|hit| &hit.place);
        Some(Given {
            response_id,
            place: served.or(self.place.as_ref()),
            verdict: matches!(answer.origin(), Origin::Semantic(_))
                .then(|| verdict::language(&self.job.message)),
        })
    }

    /// What the conversation gains.
    fn said(
        &self,
        answer: &Answer,
        bill: Option<&Bill>,
        at: Timestamp,
    ) -> (HistoryEntry, HistoryEntry) {
        let Self { app, job, .. } = *self;
        let question = HistoryEntry {
            tokens: Composed::ready_count(&app.llm, self.model, &job.message),
            ..self.entry(Speaker::User, &job.message, job.accepted_at)
        };
        let reply = HistoryEntry {
            tokens: bill.and_then(|bill| answer.counted(bill)),
            ..self.entry(Speaker::Assistant, &answer.text, at)
        };
        (question, reply)
    }

    fn entry(&self, speaker: Speaker, text: &str, at: Timestamp) -> HistoryEntry {
        let (text, request_id) = (text.to_owned(), self.job.request_id.clone());
        HistoryEntry {
            speaker,
            text,
            at,
            request_id,
            tokens: None,
        }
    }

    fn last_bodies(&self, stream: &Stream<'a>, answer: &Answer) -> Vec<Body> {
        let language = self.language();
        match &answer.end {
            End::Finished {
                reason,
                response_id,
            } => {
                let mut bodies = match answer.hit {
                    Some(_) => frame::deltas(&answer.text, stream.shown()),
                    None => Vec::new(),
                };
                bodies.push(Body::Usage(self.usage(answer)));
                bodies.push(Body::Done(Done {
                    response_id: response_id.clone(),
                    finish_reason: *reason,
                    origin: answer.origin(),
                    summary_used: self.is_recalled,
                }));
                bodies
            }
            End::Failed {
                code,
                retry_after_ms,
            } => vec![Body::Error(ErrorBody {
                retry_after_ms: *retry_after_ms,
                ..notice::error(*code, language)
            })],
            End::Refused(error) => vec![Body::Error(error.clone())],
        }
    }

    /// Of all attempts together.
    fn usage(&self, answer: &Answer) -> Usage {
        let call = self.bill(answer).map(|bill| bill.call);
        let consumed = call.as_ref().map(|call| call.tokens).unwrap_or_default();
        let tokens = self.earlier.plus(consumed);
        Usage {
            tokens,
            estimated: self.earlier.total() > 0 || call.as_ref().is_some_and(|call| call.estimated),
            cost: self.model.cost(tokens),
            saved_tokens: call.as_ref().map_or(0, |call| call.saved_tokens),
        }
    }
}
