//! Everybody who follows a turn: each gets every frame once, in order, at its own pace.

use std::{sync::Arc, time::Duration};

use sparkle_aws::{
    failure::{Failure, causes},
    push::{Posted, Push},
    table::connections::Connections,
};
use sparkle_core::{
    frame::{Destination, StoredFrame},
    id::ConnectionId,
};
use sparkle_wire::frame;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tracing::{error, info, warn};

use crate::App;

/// Pause before a frame is posted again to a client that did not take it in all of the SDK's tries.
const BEHIND_PAUSE: Duration = Duration::from_millis(500);
/// How long the end of a turn waits for those that are behind. They miss the rest, and ask for it.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Everybody who follows a turn.
pub(crate) struct Audience {
    push: Push,
    connections: Connections,
    members: Vec<Member>,
    posting: JoinSet<()>,
    /// Until when this worker may believe that nobody else posts these frames.
    trusted_until: watch::Sender<Instant>,
}

struct Member {
    destination: Destination,
    frames: mpsc::UnboundedSender<Arc<[u8]>>,
}

impl Audience {
    pub(crate) fn new(app: &App, trusted_until: Instant) -> Self {
        Self {
            push: app.push.clone(),
            connections: app.connections.clone(),
            members: Vec::new(),
            posting: JoinSet::new(),
            trusted_until: watch::Sender::new(trusted_until),
        }
    }

    /// Frames may be posted until then.
    pub(crate) fn trust_until(&self, until: Instant) {
        self.trusted_until.send_replace(until);
    }

    /// Everybody, as connections.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.members.iter().map(|member| &member.destination)
    }

    pub(crate) fn has(&self, connection: &ConnectionId) -> bool {
        self.destinations()
            .any(|destination| destination.connection_id == *connection)
    }

    /// Lets a client follow, beginning with these frames; one that follows already gets them next.
    pub(crate) fn admit<'a>(
        &mut self,
        destination: &Destination,
        missed: impl Iterator<Item = &'a StoredFrame>,
    ) {
        let known = self
            .members
            .iter()
            .position(|member| member.destination.connection_id == destination.connection_id);
        let known = known.unwrap_or_else(|| {
            let (frames, queue) = mpsc::unbounded_channel();
            self.posting.spawn(follow(
                self.push.clone(),
                self.connections.clone(),
                destination.clone(),
                queue,
                self.trusted_until.subscribe(),
            ));
            self.members.push(Member {
                destination: destination.clone(),
                frames,
            });
            self.members.len() - 1
        });
        if let Some(member) = self.members.get(known) {
            for frame in missed {
                member.give(&Arc::from(frame.bytes.as_slice()));
            }
        }
    }

    /// Posts a frame to everybody.
    pub(crate) fn post(&self, frame: &StoredFrame) {
        let frame = Arc::from(frame.bytes.as_slice());
        for member in &self.members {
            member.give(&frame);
        }
    }

    /// Waits until everybody has everything, but not for long.
    pub(crate) async fn close(mut self) {
        self.members.clear();
        let done = async { while self.posting.join_next().await.is_some() {} };
        if timeout(DRAIN_MAX, done).await.is_err() {
            warn!(
                clients = self.posting.len(),
                "clients did not take the end of an answer"
            );
        }
    }
}

impl Member {
    fn give(&self, frame: &Arc<[u8]>) {
        // A client that is gone has closed its queue; it finds the frames stored.
        drop(self.frames.send(Arc::clone(frame)));
    }
}

/// Posts frames to one client, the next when the one before was taken.
async fn follow(
    push: Push,
    connections: Connections,
    destination: Destination,
    mut frames: mpsc::UnboundedReceiver<Arc<[u8]>>,
    mut trusted_until: watch::Receiver<Instant>,
) {
    let connection = &destination.connection_id;
    while let Some(stored) = frames.recv().await {
        let Some(text) = frame::decode_stored(&stored, destination.format) else {
            error!("a stored frame is damaged");
            continue;
        };
        loop {
            // A worker that was stopped for a while may wake up in a turn that is another's by now.
            while Instant::now() >= *trusted_until.borrow_and_update() {
                if trusted_until.changed().await.is_err() {
                    return;
                }
            }
            match push.post(connection, text.clone()).await {
                Ok(Posted::Delivered) => break,
                Ok(Posted::Gone) => {
                    info!("client is gone");
                    if let Err(error) = connections.forget(connection).await {
                        warn!(
                            error = causes(&error),
                            "a closed connection is not forgotten yet"
                        );
                    }
                    return;
                }
                Err(failure @ Failure::Retry(_)) => {
                    warn!(error = causes(&failure), "client is behind");
                    sleep(BEHIND_PAUSE).await;
                }
                Err(failure) => {
                    error!(error = causes(&failure), "client cannot be sent a frame");
                    return;
                }
            }
        }
    }
}
