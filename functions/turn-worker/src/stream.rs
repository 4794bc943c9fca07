//! The stream of one turn under its lease: each frame numbered, recorded, then posted, in this order.

use std::{pin::pin, time::Duration};

use sparkle_aws::{
    failure::causes,
    table::{
        TableError,
        leases::{Held, Lease, Standing, Written},
    },
};
use sparkle_core::{
    frame::{Body, ServerFrame, StoredFrame, TurnJob, last_frames},
    unit::Timestamp,
};
use sparkle_wire::frame;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use crate::{App, Clock, answer::LOOK_AFTER, audience::Audience, turn::Stop};

/// Most bytes of frames that are written again with each new one: with the rest of the item they stay
/// below the 1 KB that one write unit pays for.
const TAIL_BYTES_MAX: usize = 600;
/// How long a table may be away before the turn is given up to a later attempt, which pays the model
/// again.
const OUTAGE_MAX: Duration = Duration::from_secs(75);
/// Pause before a table that is away is asked again.
const OUTAGE_PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct Stream<'a> {
    app: &'a App,
    turn: &'a TurnJob,
    clock: Clock,
    lease: Lease,
    standing: Standing,
    opened_at: Instant,
    looked_at: Instant,
    sent_at: Instant,
    last_seq: u32,
    /// Those frames that only the lease has.
    tail: Vec<StoredFrame>,
    /// What earlier attempts have shown: the text since the last `restart`.
    shown: String,
    audience: Audience,
}

impl<'a> Stream<'a> {
    /// Goes on after the frames that earlier attempts recorded. Cost: one query if there are any, one
    /// write if somebody has asked to listen.
    pub(crate) async fn open(
        app: &'a App,
        turn: &'a TurnJob,
        held: Held,
        clock: Clock,
    ) -> Result<Self, Stop> {
        let standing = &held.standing;
        let mut frames = Vec::new();
        if standing.last_seq > 0 {
            let (user, request) = (&turn.user_id, &turn.request_id);
            frames = insist(async || app.turns.frames(user, request, 0, clock.now()).await).await?;
            let kept = frames.last().map_or(0, |frame| frame.seq);
            let newer = standing.tail.iter().filter(|frame| frame.seq > kept);
            frames.extend(newer.cloned());
        }
        let mut stream = Self::over(app, turn, held, clock, frames);
        stream.hear().await?;
        Ok(stream)
    }

    /// Only to be ended, whatever was recorded. Makes no call.
    pub(crate) fn to_be_ended(app: &'a App, turn: &'a TurnJob, held: Held, clock: Clock) -> Self {
        Self::over(app, turn, held, clock, Vec::new())
    }

    fn over(
        app: &'a App,
        turn: &'a TurnJob,
        held: Held,
        clock: Clock,
        frames: Vec<StoredFrame>,
    ) -> Self {
        let Held {
            lease, standing, ..
        } = held;
        let shown = shown(&frames);
        let mut audience = Audience::new(app, frames, clock.instant(lease.believed_until));
        // Who was followed by an earlier attempt has got its frames, or sees a gap and asks.
        audience.seat(&turn.destination, None);
        for listener in standing.listening(&turn.request_id) {
            let destination = listener.destination.clone();
            audience.seat(&destination, Some(listener));
        }
        Self {
            app,
            turn,
            clock,
            lease,
            opened_at: Instant::now(),
            looked_at: Instant::now(),
            sent_at: Instant::now(),
            last_seq: standing.last_seq,
            tail: standing.tail.clone(),
            standing,
            shown,
            audience,
        }
    }

    /// What earlier attempts have shown.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.standing.is_cancelled(&self.turn.request_id)
    }

    /// Whether the turn is to leave nothing in its conversation, which is being deleted.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.standing.is_forgotten(&self.turn.request_id)
    }

    /// When this attempt began.
    pub(crate) fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// When it was last seen what the learner wants.
    pub(crate) fn looked_at(&self) -> Instant {
        self.looked_at
    }

    /// When something was last sent, or else when this attempt began.
    pub(crate) fn sent_at(&self) -> Instant {
        self.sent_at
    }

    pub(crate) fn app(&self) -> &'a App {
        self.app
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Records a frame, then has it posted. Cost: one write, and
    /// another for some ten frames.
    pub(crate) async fn send(&mut self, body: Body) -> Result<(), Stop> {
        self.sent_at = Instant::now();
        let frame = self.stored(body, self.last_seq + 1);
        if self.tail_bytes() + frame.bytes.len() > TAIL_BYTES_MAX {
            insist(async || self.app.turns.keep(self.turn, &self.tail).await).await?;
            self.tail.clear();
        }
        self.tail.push(frame.clone());
        let Self { app, clock, .. } = *self;
        let (lease, tail) = (&mut self.lease, &self.tail);
        let written = insist(async || app.leases.record(lease, tail, clock.now()).await);
        let Written::Kept(standing) = written.await? else {
            return Err(Stop::Lost);
        };
        self.last_seq = frame.seq;
        self.audience
            .believe_until(self.clock.instant(self.lease.believed_until));
        self.audience.post(frame);
        self.see(standing).await
    }

    /// Sees what the learner wants. Not knowing for once is no reason to give up an answer.
    /// Cost: one read.
    pub(crate) async fn look(&mut self) -> Result<(), Stop> {
        match self.app.leases.look(&self.lease).await {
            Ok(Written::Kept(standing)) => self.see(standing).await,
            Ok(Written::Lost) => Err(Stop::Lost),
            Err(error) if is_away(&error) => {
                warn!(error = causes(&error), "cannot see what the learner wants");
                self.looked_at = Instant::now();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for some work; nothing if the learner does not want the answer any more. What is seen meanwhile is seen
    /// to its end: a listener who is taken must be let in. Cost: one read every 240 ms.
    pub(crate) async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, Stop> {
        let mut work = pin!(work);
        while !self.is_cancelled() {
            tokio::select! {
                biased;
                done = &mut work => return Ok(Some(done)),
                () = sleep_until(self.looked_at + LOOK_AFTER) => {}
            }
            self.look().await?;
        }
        Ok(None)
    }

    async fn see(&mut self, standing: Standing) -> Result<(), Stop> {
        self.looked_at = Instant::now();
        self.standing = standing;
        self.hear().await
    }

    /// Lets in those who have asked to listen.
    async fn hear(&mut self) -> Result<(), Stop> {
        loop {
            let asked = self.standing.asked(&self.turn.request_id);
            if asked.is_empty() {
                return Ok(());
            }
            // First it is noted that they are taken: should this worker die now, they see a gap and ask
            // again rather than get everything twice.
            let mut listening = self.audience.listening();
            for listener in &asked {
                let connection = &listener.destination.connection_id;
                listening.retain(|other| other.destination.connection_id != *connection);
                listening.push(listener.clone());
            }
            let taken =
                insist(async || self.app.leases.take(&self.lease, &asked, &listening).await);
            match taken.await? {
                Written::Kept(standing) => self.standing = standing,
                Written::Lost => return Err(Stop::Lost),
            }
            for listener in asked {
                self.audience.admit(listener);
            }
        }
    }

    /// The last frames, numbered and not recorded yet; the final one names its request.
    pub(crate) fn last(&self, bodies: Vec<Body>, now: Timestamp) -> Vec<StoredFrame> {
        let frames = last_frames(self.turn, self.last_seq, bodies, now);
        frames.iter().filter_map(frame::stored).collect()
    }

    /// The frames that are to be kept with the end of the turn.
    pub(crate) fn tail_with(&self, last: &[StoredFrame]) -> Vec<StoredFrame> {
        self.tail.iter().chain(last).cloned().collect()
    }

    /// Has the last frames posted, which are kept now; who follows may take a while.
    pub(crate) fn close(self, last: &[StoredFrame]) -> Audience {
        self.audience.end(last);
        self.audience
    }

    fn tail_bytes(&self) -> usize {
        self.tail.iter().map(|frame| frame.bytes.len()).sum()
    }

    fn frame(&self, body: Body, seq: u32) -> ServerFrame {
        ServerFrame {
            body,
            request_id: (seq == 1).then(|| self.turn.request_id.clone()),
            trace_id: None,
            timestamp: None,
            seq: Some(seq),
            stream: Some(self.turn.stream()),
        }
    }

    fn stored(&self, body: Body, seq: u32) -> StoredFrame {
        let bytes = frame::encode_stored(&self.frame(body, seq));
        StoredFrame { seq, bytes }
    }
}

fn shown(frames: &[StoredFrame]) -> String {
    let mut shown = String::new();
    let deltas = frames.iter();
    for (text, restart) in deltas.filter_map(|frame| frame::stored_text(&frame.bytes)) {
        if restart {
            shown.clear();
        }
        shown.push_str(&text);
    }
    shown
}

/// Asks a table until it answers: giving up a turn costs more than waiting.
pub(crate) async fn insist<T>(
    mut ask: impl AsyncFnMut() -> Result<T, TableError>,
) -> Result<T, TableError> {
    let began = Instant::now();
    loop {
        match ask().await {
            Err(error) if is_away(&error) && began.elapsed() < OUTAGE_MAX => {
                warn!(error = causes(&error), "a table is away");
                sleep(OUTAGE_PAUSE).await;
            }
            answer => return answer,
        }
    }
}

/// Whether a table may answer later.
pub(crate) fn is_away(error: &TableError) -> bool {
    matches!(error, TableError::Throttled(_) | TableError::Unavailable(_))
}
