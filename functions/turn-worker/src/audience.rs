//! Everybody who follows a turn: each gets every frame once, in order, at its own pace.
//!
//! The frames are kept once; each member has a place in them, which a `resume` sets back. So a member that
//! is slow, or asks over and over, takes no room and gets one post at a time.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sparkle_aws::{
    failure::{Failure, causes},
    push::{Posted, Push},
    table::{
        connections::Connections,
        leases::{Listener, Start},
    },
};
use sparkle_core::{
    frame::{Destination, StoredFrame},
    id::ConnectionId,
};
use sparkle_wire::frame;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tracing::{error, info, warn};

use crate::App;

/// Most connections that follow one turn: a learner's devices, and sockets that are gone and not noticed.
const MEMBERS_MAX: usize = 20;
/// Pause before a frame is posted again to a client that did not take it in all of the SDK's tries.
const BEHIND_PAUSE: Duration = Duration::from_millis(500);
/// Longest post: as the SDK is told in `sparkle_aws::boot`.
const POST_MAX: Duration = Duration::from_secs(5);

/// Everybody who follows a turn.
pub(crate) struct Audience {
    push: Push,
    connections: Connections,
    hall: Arc<Mutex<Hall>>,
    /// Told whenever a member may have something to do; wakes them in the order in which they wait.
    changes: Arc<Notify>,
    posting: JoinSet<()>,
}

/// What the members share.
struct Hall {
    frames: Vec<StoredFrame>,
    members: Vec<Member>,
    /// Until when this worker may believe that nobody else posts these frames.
    trusted_until: Instant,
    is_over: bool,
}

struct Member {
    destination: Destination,
    /// How it asked, if it did: the first one is the question's own connection.
    listener: Option<Listener>,
    /// The last frame it has.
    seq: u32,
    is_gone: bool,
}

/// What a member does next.
enum Next {
    Post(StoredFrame),
    Wait,
    Leave,
}

impl Audience {
    /// Nobody, for a stream that has these frames already.
    pub(crate) fn new(app: &App, frames: Vec<StoredFrame>, believed_until: Instant) -> Self {
        Self {
            push: app.push.clone(),
            connections: app.connections.clone(),
            hall: Arc::new(Mutex::new(Hall {
                frames,
                members: Vec::new(),
                trusted_until: believed_until - POST_MAX,
                is_over: false,
            })),
            changes: Arc::default(),
            posting: JoinSet::new(),
        }
    }

    /// Frames may be posted until then.
    pub(crate) fn believe_until(&self, until: Instant) {
        lock(&self.hall).trusted_until = until - POST_MAX;
        self.changes.notify_waiters();
    }

    /// Those who asked and are still there.
    pub(crate) fn listening(&self) -> Vec<Listener> {
        let hall = lock(&self.hall);
        let here = hall.members.iter().filter(|member| !member.is_gone);
        here.filter_map(|member| member.listener.clone()).collect()
    }

    /// Lets a connection follow from the next frame on.
    pub(crate) fn seat(&mut self, destination: &Destination, listener: Option<Listener>) {
        let seq = last_seq(&lock(&self.hall).frames);
        self.place(destination, listener, seq);
    }

    /// Lets a client follow from where it asks.
    pub(crate) fn admit(&mut self, listener: Listener) {
        let destination = listener.destination.clone();
        if listener.start == Start::Whole && self.has(&destination.connection_id) {
            return; // it has repeated its question, and gets the answer already
        }
        let seq = listener.start.after_seq();
        self.place(&destination, Some(listener), seq);
    }

    fn has(&self, connection: &ConnectionId) -> bool {
        let hall = lock(&self.hall);
        let mut here = hall.members.iter().filter(|member| !member.is_gone);
        here.any(|member| member.destination.connection_id == *connection)
    }

    fn place(&mut self, destination: &Destination, listener: Option<Listener>, seq: u32) {
        let mut hall = lock(&self.hall);
        let connection = &destination.connection_id;
        let known = hall
            .members
            .iter_mut()
            .find(|member| !member.is_gone && member.destination.connection_id == *connection);
        if let Some(member) = known {
            member.seq = seq;
            member.listener = listener.or(member.listener.take());
            member.destination = destination.clone();
        } else {
            let here = hall.members.iter().filter(|member| !member.is_gone).count();
            if here >= MEMBERS_MAX
                && let Some(oldest) = hall.members.iter_mut().find(|member| !member.is_gone)
            {
                oldest.is_gone = true;
            }
            let place = hall.members.len();
            hall.members.push(Member {
                destination: destination.clone(),
                listener,
                seq,
                is_gone: false,
            });
            self.posting.spawn(follow(
                self.push.clone(),
                self.connections.clone(),
                Arc::clone(&self.hall),
                place,
                Arc::clone(&self.changes),
            ));
        }
        drop(hall);
        self.changes.notify_waiters();
    }

    /// Has a frame posted to everybody.
    pub(crate) fn post(&self, frame: StoredFrame) {
        lock(&self.hall).frames.push(frame);
        self.changes.notify_waiters();
    }

    /// Nothing follows the last of these frames, and nobody else writes to this stream any more.
    pub(crate) fn end(&self, last: &[StoredFrame]) {
        {
            let mut hall = lock(&self.hall);
            hall.frames.extend(last.iter().cloned());
            hall.is_over = true;
            hall.trusted_until = Instant::now() + Duration::from_hours(1);
        }
        self.changes.notify_waiters();
    }

    /// Waits until everybody has everything, for `span` at most; whether they have.
    pub(crate) async fn drain(&mut self, span: Duration) -> bool {
        let done = async { while self.posting.join_next().await.is_some() {} };
        timeout(span, done).await.is_ok()
    }
}

fn lock(hall: &Mutex<Hall>) -> MutexGuard<'_, Hall> {
    hall.lock().unwrap_or_else(PoisonError::into_inner)
}

fn last_seq(frames: &[StoredFrame]) -> u32 {
    frames.last().map_or(0, |frame| frame.seq)
}

impl Hall {
    fn next(&self, place: usize) -> Next {
        let Some(member) = self.members.get(place).filter(|member| !member.is_gone) else {
            return Next::Leave;
        };
        let ahead = self.frames.partition_point(|frame| frame.seq <= member.seq);
        match self.frames.get(ahead) {
            None if self.is_over => Next::Leave,
            None => Next::Wait,
            // A worker that was stopped for a while may wake up in a turn that is another's by now.
            Some(_) if Instant::now() >= self.trusted_until => Next::Wait,
            Some(frame) => Next::Post(frame.clone()),
        }
    }

    /// Unless it was set back meanwhile.
    fn has_got(&mut self, place: usize, before_seq: u32, seq: u32) {
        if let Some(member) = self.members.get_mut(place)
            && member.seq == before_seq
        {
            member.seq = seq;
        }
    }
}

/// Posts frames to one client, the next when the one before was taken.
async fn follow(
    push: Push,
    connections: Connections,
    hall: Arc<Mutex<Hall>>,
    place: usize,
    changes: Arc<Notify>,
) {
    loop {
        // Before it looks: what changes from here on is not missed.
        let mut change = pin!(changes.notified());
        change.as_mut().enable();
        let (next, member) = {
            let hall = lock(&hall);
            let member = hall.members.get(place);
            let member = member.map(|member| (member.destination.clone(), member.seq));
            (hall.next(place), member)
        };
        let (stored, (destination, before_seq)) = match (next, member) {
            (Next::Post(frame), Some(member)) => (frame, member),
            (Next::Wait, _) => {
                change.await;
                continue;
            }
            _ => return,
        };
        let connection = &destination.connection_id;
        let Some(text) = frame::decode_stored(&stored.bytes, destination.format) else {
            error!("a stored frame is damaged");
            lock(&hall).has_got(place, before_seq, stored.seq);
            continue;
        };
        match push.post(connection, text).await {
            Ok(Posted::Delivered) => lock(&hall).has_got(place, before_seq, stored.seq),
            Ok(Posted::Gone) => {
                info!("client is gone");
                if let Some(member) = lock(&hall).members.get_mut(place) {
                    member.is_gone = true;
                }
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
                if let Some(member) = lock(&hall).members.get_mut(place) {
                    member.is_gone = true;
                }
                return;
            }
        }
    }
}
