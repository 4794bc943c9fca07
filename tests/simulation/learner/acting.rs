//! A device that does what a scene says, one thing after the other.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{Device, Turn, chat};

/// One thing that a device does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Sends a message, numbered from 0, until it is acknowledged.
    Say(usize),
    /// Sends a message and does not wait.
    Repeat(usize),
    /// Waits until another device's message is acknowledged.
    Await(usize),
    /// Asks for an answer from its beginning.
    Resume(usize),
    /// Listens for so many milliseconds.
    Listen(u64),
    /// Deletes the conversation.
    Delete,
    /// Stays until all is answered.
    Stay,
}

impl Device {
    /// Does these things.
    pub(crate) async fn act(mut self, acts: &[Act]) -> Self {
        let learner = std::rc::Rc::clone(&self.learner);
        for &act in acts {
            match act {
                Act::Say(number) => self.say(&learner.turns[number]).await,
                Act::Repeat(number) => self.repeat(&learner.turns[number]).await,
                Act::Await(number) => {
                    while learner.turns[number].acked.get().is_none() {
                        learner.told.notified().await;
                    }
                }
                Act::Resume(number) => {
                    self.connect().await;
                    self.resume(&learner.turns[number]);
                }
                Act::Listen(span_ms) => {
                    let span = Duration::from_millis(span_ms);
                    self.listen(Instant::now() + span).await;
                }
                Act::Delete => self.delete().await,
                Act::Stay => {
                    let are_over = |device: &Self| {
                        let mut turns = device.learner.turns.iter();
                        turns.all(|turn| turn.acked.get().is_none() || device.is_over(turn))
                    };
                    self.stay(are_over).await;
                }
            }
        }
        self
    }

    async fn repeat(&mut self, turn: &Turn) {
        self.connect().await;
        self.send(&turn.request, "chat", &chat(turn), Some(&turn.trace_id));
    }

    /// Whatever is said in the conversation until it is gone, goes with it.
    async fn delete(&mut self) {
        self.connect().await;
        let request = self.question();
        let session = &self.learner.turns[0].session;
        let payload = json!({ "action": "delete", "session_id": session });
        self.send(&request, "sessions", &payload, None);
        for turn in &self.learner.turns {
            turn.deleted.set(true);
        }
    }
}
