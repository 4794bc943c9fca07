//! Following a turn that runs, ran, or waits: `resume`, repeated questions, `cancel`.
//!
//! While a worker holds the conversation's lease only it posts the stream; here it is told who wants to
//! follow. Otherwise what is recorded is posted from here first, and then the next worker is told. So one
//! writer at a time posts to a connection and it gets each frame once, in order; except where it was
//! followed before and a worker takes over just while this posts: then its client goes by `seq`.

use std::time::Duration;

use sparkle_aws::{
    failure::Failure,
    metric,
    push::Posted,
    table::{
        leases::{self, Listener, Standing, Start},
        turns::Turn,
    },
};
use sparkle_core::{
    frame::{Ack, ErrorBody, ErrorCode, StoredFrame, TurnJob},
    id::RequestId,
    notice,
};
use sparkle_wire::frame;
use tracing::warn;

use super::Answering;

/// How long nobody may have run a conversation's first turn before it is queued again: the queue itself
/// delivers the message of a worker that died in its turn after 15 s, but that of one that died before its
/// first act only after the function's whole timeout.
const SILENCE: Duration = Duration::from_secs(15);
/// When a learner may try again for whose conversation too many connections have asked.
const CROWDED_RETRY: Duration = Duration::from_secs(2);

impl Answering<'_> {
    /// Goes on with the stream of an earlier request. Cost: two reads, one post and, if the turn is not
    /// over, one write; a query where something is to be posted from here.
    pub(crate) async fn resume(
        &self,
        request: &RequestId,
        after_seq: u32,
    ) -> Result<Option<ErrorBody>, Failure> {
        let user = &self.asked.identity.user_id;
        match self.app.turns.find(user, request, self.asked.now).await? {
            None => Ok(Some(self.not_found())),
            Some(Turn::Answered { last_seq, .. }) => {
                let ack = Ack {
                    last_seq,
                    finished: true,
                    ..Ack::default()
                };
                self.acknowledge(request, ack).await?;
                self.replay(request, after_seq).await?;
                Ok(None)
            }
            Some(Turn::Unanswered(turn)) => {
                let ack = Ack {
                    session_id: Some(turn.session_id.clone()),
                    ..Ack::default()
                };
                self.follow(&turn, Start::After(after_seq), ack).await
            }
        }
    }

    /// Acknowledges, and lets this connection follow a turn that was not over just now. If nobody runs it
    /// although somebody should, it is queued again.
    ///
    /// Cost: one read, one post, one write.
    pub(crate) async fn follow(
        &self,
        turn: &TurnJob,
        start: Start,
        ack: Ack,
    ) -> Result<Option<ErrorBody>, Failure> {
        let (user, request) = (&turn.user_id, &turn.request_id);
        let standing = self.app.leases.find(user, &turn.session_id).await?;
        let Some(standing) = standing.filter(|standing| standing.waits(request)) else {
            // It was not over a moment ago, so it is now.
            return self.follow_to_the_end(turn, start, ack).await;
        };
        let known = turn.destination.connection_id == self.asked.destination.connection_id
            || self.is_followed_by(&standing, request);
        let is_served = start == Start::Whole && known;
        if !is_served && standing.is_crowded() {
            return Ok(Some(self.crowded()));
        }
        let is_first = standing.is_first(request);
        let last_seq = if is_first { standing.last_seq } else { 0 };
        self.acknowledge(request, Ack { last_seq, ..ack }).await?;
        self.ring_if_abandoned(turn, &standing).await?;
        if is_served {
            return Ok(None);
        }
        let mut start = start;
        if is_first && !standing.is_live(self.asked.now) {
            for stored in self.recorded(turn, &standing, start.after_seq()).await? {
                if self.post_stored(&stored).await? == Posted::Gone {
                    return Ok(None);
                }
                start = Start::After(stored.seq);
            }
        }
        let listener = Listener {
            request_id: request.clone(),
            destination: self.asked.destination.clone(),
            start,
            asked_by: self.asked.frame.request_id.clone(),
        };
        match self
            .app
            .leases
            .ask(user, &turn.session_id, &listener)
            .await?
        {
            leases::Asked::Recorded => Ok(None),
            leases::Asked::TooMany => Ok(Some(self.crowded())),
            leases::Asked::Over => {
                self.replay(request, start.after_seq()).await?;
                Ok(None)
            }
        }
    }

    /// For a turn that ended meanwhile.
    async fn follow_to_the_end(
        &self,
        turn: &TurnJob,
        start: Start,
        ack: Ack,
    ) -> Result<Option<ErrorBody>, Failure> {
        let (user, request) = (&turn.user_id, &turn.request_id);
        let Some(Turn::Answered { last_seq, .. }) =
            self.app.turns.find(user, request, self.asked.now).await?
        else {
            warn!("a turn is neither over nor does it wait");
            return Ok(Some(notice::error(
                ErrorCode::Internal,
                self.asked.language(),
            )));
        };
        let ack = Ack {
            last_seq,
            finished: true,
            ..ack
        };
        self.acknowledge(request, ack).await?;
        self.replay(request, start.after_seq()).await?;
        Ok(None)
    }

    /// Whether this connection was told the worker already.
    fn is_followed_by(&self, standing: &Standing, request: &RequestId) -> bool {
        let mut followers = standing.listening(request);
        followers.extend(standing.asked(request));
        let mut connections = followers
            .iter()
            .map(|follower| &follower.destination.connection_id);
        connections.any(|connection| *connection == self.asked.destination.connection_id)
    }

    /// Queues a turn again if nobody has run its conversation's turns for a while. Whichever of them the
    /// message names, the worker begins with the first.
    async fn ring_if_abandoned(&self, turn: &TurnJob, standing: &Standing) -> Result<(), Failure> {
        let is_new = turn.accepted_at.after(SILENCE) > self.asked.now;
        if is_new || !standing.is_abandoned(SILENCE, self.asked.now) {
            return Ok(());
        }
        let ring = standing.next_ring();
        warn!(ring, "nobody runs a turn, it is queued again");
        metric::count("turns_requeued_total", 1, &[], self.asked.now);
        // Sent before it is noted: whoever comes between sends the same message, which is one to the queue.
        self.app.queue.send_again(turn, ring).await?;
        let (user, session) = (&turn.user_id, &turn.session_id);
        self.app
            .leases
            .note_ring(user, session, ring, self.asked.now)
            .await?;
        Ok(())
    }

    /// The frames so far of the turn that comes first, after one of them.
    async fn recorded(
        &self,
        turn: &TurnJob,
        standing: &Standing,
        after_seq: u32,
    ) -> Result<Vec<StoredFrame>, Failure> {
        if standing.last_seq <= after_seq {
            return Ok(Vec::new());
        }
        let (user, request) = (&turn.user_id, &turn.request_id);
        let mut frames = self
            .app
            .turns
            .frames(user, request, after_seq, self.asked.now)
            .await?;
        let kept = frames.last().map_or(after_seq, |frame| frame.seq);
        frames.retain(|frame| frame.seq <= standing.last_seq);
        let newer = standing.tail.iter().filter(|frame| frame.seq > kept);
        frames.extend(newer.cloned());
        Ok(frames)
    }

    /// Posts what follows `after_seq` of a finished stream.
    pub(crate) async fn replay(&self, request: &RequestId, after_seq: u32) -> Result<(), Failure> {
        let user = &self.asked.identity.user_id;
        let stored = self
            .app
            .turns
            .frames(user, request, after_seq, self.asked.now)
            .await?;
        for frame in &stored {
            if self.post_stored(frame).await? == Posted::Gone {
                break;
            }
        }
        Ok(())
    }

    async fn post_stored(&self, stored: &StoredFrame) -> Result<Posted, Failure> {
        match frame::decode_stored(&stored.bytes, self.asked.destination.format) {
            Some(text) => self.asked.post_text(text).await,
            None => Ok(Posted::Delivered),
        }
    }

    /// Asks for an answer to be stopped; its stream's `done` is the reply, when it is
    /// the turn's turn. Cost: one read, one write.
    pub(crate) async fn cancel(&self, request: &RequestId) -> Result<Option<ErrorBody>, Failure> {
        let (app, user) = (self.app, &self.asked.identity.user_id);
        let Some(Turn::Unanswered(turn)) = app.turns.find(user, request, self.asked.now).await?
        else {
            return Ok(Some(self.not_found()));
        };
        match app.leases.cancel(user, &turn.session_id, request).await? {
            Some(standing) => {
                self.ring_if_abandoned(&turn, &standing).await?;
                Ok(None)
            }
            None => Ok(Some(self.not_found())),
        }
    }

    fn crowded(&self) -> ErrorBody {
        let error = notice::error(ErrorCode::RateLimited, self.asked.language());
        error.retry_in(CROWDED_RETRY)
    }

    fn not_found(&self) -> ErrorBody {
        notice::error(ErrorCode::NotFound, self.asked.language())
    }
}
