//! Hides which messages of a queue are overtaken on purpose, and for how long they are held back: SQS
//! promises an order only inside a message group.
//!
//! The choice depends on a seed and on what the message is, as with `duplicates`. What is held back
//! stays in flight, so that nothing of its group passes it; others may.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{Share, duplicates::chance};
use crate::sqs::ReceivedMessage;

/// The longest that a message is held back: long enough for dozens to pass, far below what any queue
/// hides a message for.
const HELD_TIME_MAX: Duration = Duration::from_millis(500);
/// Parts of batches held back at once; beyond, the one that has been for longest is due.
const HELD_MAX: usize = 1_000;
/// So that the same seed chooses others than for `duplicates`.
const APART: u64 = 0x6f72_6465_7221;

/// Which messages are held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reorder {
    /// How many.
    pub share: Share,
    /// Which ones: another seed chooses others.
    pub seed: u64,
}

impl Reorder {
    /// Parts a batch by how long each part is held back, the shortest first. In a FIFO queue (`group`
    /// tells a message's) a group stays together, in its order, and its first message decides.
    pub(super) fn part(
        self,
        queue: &str,
        group: impl Fn(&ReceivedMessage) -> Option<String>,
        messages: Vec<ReceivedMessage>,
    ) -> BTreeMap<Duration, Vec<ReceivedMessage>> {
        let mut parts: BTreeMap<Duration, Vec<ReceivedMessage>> = BTreeMap::new();
        let mut groups = BTreeMap::new();
        for message in messages {
            let held = match group(&message) {
                None => self.held(queue, &message),
                Some(group) => *groups
                    .entry(group)
                    .or_insert_with(|| self.held(queue, &message)),
            };
            parts.entry(held).or_default().push(message);
        }
        parts
    }

    /// How long this message is held back; not at all, if it is not among them.
    fn held(self, queue: &str, message: &ReceivedMessage) -> Duration {
        let (choice, length) = chance(self.seed ^ APART, queue, message);
        if !self.share.takes(choice) {
            return Duration::ZERO;
        }
        let longest_ms = u32::try_from(HELD_TIME_MAX.as_millis()).unwrap_or(u32::MAX);
        Duration::from_millis(u64::from(length % longest_ms) + 1)
    }
}

/// What one event source mapping holds back.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_due: BTreeMap<Instant, Vec<Vec<ReceivedMessage>>>,
}

impl Held {
    pub(super) fn put(&mut self, due: Instant, messages: Vec<ReceivedMessage>) {
        self.by_due.entry(due).or_default().push(messages);
    }

    /// When the next is to be delivered; what is past is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let (first, _) = self.by_due.first_key_value()?;
        match self.by_due.len() {
            ..=HELD_MAX => Some(*first),
            _ => Some(Instant::now().min(*first)),
        }
    }

    /// The next, if it is due.
    pub(super) fn take(&mut self) -> Vec<ReceivedMessage> {
        if self.due().is_none_or(|due| due > Instant::now()) {
            return Vec::new();
        }
        let Some(mut first) = self.by_due.first_entry() else {
            return Vec::new();
        };
        let next = first.get_mut().pop().unwrap_or_default();
        if first.get().is_empty() {
            first.remove();
        }
        next
    }

    /// All of it.
    pub(super) fn all(self) -> Vec<ReceivedMessage> {
        self.by_due.into_values().flatten().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(group: &str, body: usize) -> ReceivedMessage {
        ReceivedMessage {
            message_id: String::new(),
            receipt_handle: String::new(),
            body: body.to_string(),
            md5_of_body: String::new(),
            attributes: BTreeMap::from([("MessageGroupId".to_owned(), group.to_owned())]),
            message_attributes: BTreeMap::new(),
        }
    }

    fn parts(
        share: &str,
        seed: u64,
        messages: Vec<ReceivedMessage>,
    ) -> Vec<(Duration, Vec<usize>)> {
        let share = share.parse().unwrap();
        let group = |message: &ReceivedMessage| message.attributes.get("MessageGroupId").cloned();
        let parts = Reorder { share, seed }.part("q", group, messages);
        let bodies = |messages: Vec<ReceivedMessage>| {
            let bodies = messages.iter().map(|message| message.body.parse().unwrap());
            bodies.collect()
        };
        parts
            .into_iter()
            .map(|(held, messages)| (held, bodies(messages)))
            .collect()
    }

    fn apart() -> Vec<ReceivedMessage> {
        let each = |n: usize| message(&n.to_string(), n);
        (0..200).map(each).collect()
    }

    #[test]
    fn the_seed_chooses_the_share_is_kept_and_no_one_is_held_for_long() {
        let at_once = |share, seed| {
            let parts = parts(share, seed, apart());
            assert!(parts.iter().all(|(held, _)| *held <= HELD_TIME_MAX));
            let first = parts.into_iter().find(|(held, _)| held.is_zero());
            first.map_or(0, |(_, bodies)| bodies.len())
        };
        assert_eq!(at_once("0", 7), 200);
        assert_eq!(at_once("1", 7), 0);
        assert!((70..130).contains(&at_once("0.5", 7)));
        assert_eq!(parts("0.5", 7, apart()), parts("0.5", 7, apart()));
        assert_ne!(parts("0.5", 7, apart()), parts("0.5", 8, apart()));
    }

    #[test]
    fn what_is_held_back_is_out_of_order_but_not_inside_a_group() {
        let order: Vec<usize> = parts("1", 7, apart())
            .into_iter()
            .flat_map(|(_, bodies)| bodies)
            .collect();
        assert!(!order.is_sorted());
        let groups = (0..200)
            .map(|n| message(["a", "b", "c"][n % 3], n))
            .collect();
        for (_, bodies) in parts("0.5", 7, groups) {
            for group in 0..3 {
                let own = bodies.iter().filter(|n| *n % 3 == group);
                assert!(own.clone().is_sorted());
                assert!([0, 66, 67].contains(&own.count()));
            }
        }
    }
}
