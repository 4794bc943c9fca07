//! The stream of one turn: each frame numbered, stored, then posted, in this order.

use sparkle_aws::{
    failure::{Failure, causes},
    push::Posted,
};
use sparkle_core::{
    frame::{Body, ServerFrame, TurnJob},
    unit::Timestamp,
};
use sparkle_wire::frame;
use tracing::warn;

use crate::App;

pub(crate) struct Stream<'a> {
    app: &'a App,
    turn: &'a TurnJob,
    seq: u32,
    audience: Audience,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    Listening,
    Behind,
    Gone,
}

impl<'a> Stream<'a> {
    /// Goes on after the frames that earlier attempts stored.
    pub(crate) fn after(last_seq: u32, app: &'a App, turn: &'a TurnJob) -> Self {
        Self {
            app,
            turn,
            seq: last_seq,
            audience: Audience::Listening,
        }
    }

    /// Whether the client was sent anything before.
    pub(crate) fn is_begun(&self) -> bool {
        self.seq > 0
    }

    /// Stores a frame, then posts it. Cost: one write, one post.
    pub(crate) async fn send(&mut self, body: Body) -> Result<(), Failure> {
        let frame = self.next(body);
        self.app.turns.store(self.turn, &frame).await?;
        self.post(&frame).await
    }

    /// Numbers the next frame.
    pub(crate) fn next(&mut self, body: Body) -> ServerFrame {
        self.seq = self.seq.saturating_add(1);
        ServerFrame {
            body,
            request_id: (self.seq == 1).then(|| self.turn.request_id.clone()),
            trace_id: None,
            timestamp: None,
            seq: Some(self.seq),
            stream: Some(self.turn.stream()),
        }
    }

    /// As if the last of these frames had not been numbered: they were neither stored nor posted.
    pub(crate) fn without(&self, frames: &[ServerFrame]) -> Self {
        let unused = u32::try_from(frames.len()).unwrap_or(u32::MAX);
        Self {
            seq: self.seq.saturating_sub(unused),
            ..*self
        }
    }

    /// Numbers the final frame, which names its request.
    pub(crate) fn last(&mut self, body: Body, now: Timestamp) -> ServerFrame {
        let timestamp = matches!(body, Body::Done(_)).then_some(now);
        let request_id = Some(self.turn.request_id.clone());
        ServerFrame {
            request_id,
            timestamp,
            ..self.next(body)
        }
    }

    /// Posts a frame that is stored. A client that is gone, or cannot be reached, misses it and finds
    /// it stored: the turn goes on.
    pub(crate) async fn post(&mut self, frame: &ServerFrame) -> Result<(), Failure> {
        let is_final = frame.request_id.is_some() && self.seq > 1;
        match self.audience {
            Audience::Listening => {}
            Audience::Behind if is_final => {}
            Audience::Behind | Audience::Gone => return Ok(()),
        }
        let destination = &self.turn.destination;
        let text = frame::encode(frame, destination.format);
        match self.app.push.post(&destination.connection_id, text).await {
            Ok(Posted::Delivered) => {}
            Ok(Posted::Gone) => {
                self.audience = Audience::Gone;
                let forgotten = self
                    .app
                    .connections
                    .forget(&destination.connection_id)
                    .await;
                if let Err(error) = forgotten {
                    warn!(
                        error = causes(&error),
                        "a closed connection is not forgotten yet"
                    );
                }
            }
            Err(failure) => {
                // A later frame would arrive out of order, so only the final one is still tried: its
                // `seq` shows the client that it missed some.
                self.audience = Audience::Behind;
                warn!(error = causes(&failure), "client cannot be reached");
            }
        }
        Ok(())
    }
}
