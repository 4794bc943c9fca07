//! Hides which messages of a queue are delivered twice on purpose: SQS may do so with any.
//!
//! The choice depends on a seed and on what the message is, not on when it comes or who takes it,
//! so that a run can be repeated. Messages that are alike share their fate. ([`chance`] is also what
//! `reorder` chooses by.)

use std::{collections::BTreeSet, str::FromStr};

use sha2::{Digest as _, Sha256};

use crate::sqs::ReceivedMessage;

const MILLION: u32 = 1_000_000;
/// How many messages may be on their second way at once; beyond, none is chosen.
const REPEATED_MAX: usize = 10_000;

/// A part of all messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    per_million: u32,
}

impl Share {
    /// Whether a number, as likely as any other, falls into this part of them.
    pub(super) fn takes(self, number: u32) -> bool {
        number % MILLION < self.per_million
    }
}

impl FromStr for Share {
    type Err = String;

    /// Reads a number from 0 to 1, such as `0.25`. Digits after the sixth are dropped.
    fn from_str(text: &str) -> Result<Share, String> {
        let wrong = || format!("{text} is not a number from 0 to 1");
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || text.is_empty() || text == "." {
            return Err(wrong());
        }
        let millionths: String = fraction.chars().chain("000000".chars()).take(6).collect();
        let whole: u32 = match whole {
            "" => 0,
            whole => whole.parse().map_err(|_error| wrong())?,
        };
        let millionths: u32 = millionths.parse().map_err(|_error| wrong())?;
        let per_million = whole
            .checked_mul(MILLION)
            .and_then(|whole| whole.checked_add(millionths))
            .filter(|per_million| *per_million <= MILLION)
            .ok_or_else(wrong)?;
        Ok(Share { per_million })
    }
}

/// Which messages come twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// How many.
    pub share: Share,
    /// Which ones: another seed chooses others.
    pub seed: u64,
}

impl Duplicates {
    /// Whether this message is among them.
    fn holds(self, queue: &str, message: &ReceivedMessage) -> bool {
        self.share.takes(chance(self.seed, queue, message).0)
    }
}

/// Two numbers that a seed gives to a message.
pub(super) fn chance(seed: u64, queue: &str, message: &ReceivedMessage) -> (u32, u32) {
    let attribute = |name| message.attributes.get(name).map_or("", String::as_str);
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    // A body may hold what differs from run to run; a deduplication id says what it is.
    let identity = match attribute("MessageDeduplicationId") {
        "" => message.body.as_str(),
        id => id,
    };
    for part in [queue, attribute("MessageGroupId"), identity] {
        hash.update(part);
        hash.update([0]);
    }
    let hash = hash.finalize();
    let mut numbers = hash
        .chunks_exact(4)
        .filter_map(|bytes| bytes.try_into().ok());
    let mut next = || numbers.next().map_or(0, u32::from_be_bytes);
    (next(), next())
}

/// What one event source mapping has delivered once and will deliver again.
#[derive(Debug)]
pub(super) struct Repeats {
    duplicates: Duplicates,
    /// Ids of messages on their second way.
    under_way: BTreeSet<String>,
}

impl Repeats {
    pub(super) fn new(duplicates: Duplicates) -> Repeats {
        Repeats {
            duplicates,
            under_way: BTreeSet::new(),
        }
    }

    /// Whether a message that was dealt with is to come again. Says so once for each.
    pub(super) fn again(&mut self, queue: &str, message: &ReceivedMessage) -> bool {
        if self.under_way.remove(&message.message_id) {
            return false;
        }
        let again = self.under_way.len() < REPEATED_MAX && self.duplicates.holds(queue, message);
        if again {
            self.under_way.insert(message.message_id.clone());
        }
        again
    }

    /// A message that was dealt with comes again because it is behind one that does.
    pub(super) fn follows(&mut self, message: &ReceivedMessage) {
        if self.under_way.len() < REPEATED_MAX {
            self.under_way.insert(message.message_id.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn message(id: &str, body: &str) -> ReceivedMessage {
        ReceivedMessage {
            message_id: id.to_owned(),
            receipt_handle: String::new(),
            body: body.to_owned(),
            md5_of_body: String::new(),
            attributes: BTreeMap::new(),
            message_attributes: BTreeMap::new(),
        }
    }

    fn chosen(share: &str, seed: u64) -> Vec<usize> {
        let share = share.parse().unwrap();
        let duplicates = Duplicates { share, seed };
        let body = |n: &usize| duplicates.holds("q", &message("id", &n.to_string()));
        (0..1000).filter(body).collect()
    }

    #[test]
    fn a_share_is_read_exactly() {
        for (text, per_million) in [
            ("0", 0),
            ("1", 1_000_000),
            ("0.25", 250_000),
            (".5", 500_000),
            ("1.0", 1_000_000),
            ("0.0000019", 1),
        ] {
            assert_eq!(text.parse(), Ok(Share { per_million }), "{text}");
        }
        for wrong in [
            "",
            ".",
            "1.1",
            "2",
            "-0.1",
            "0,5",
            "1e-3",
            "NaN",
            "99999999999",
        ] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_seed_chooses_and_the_share_is_kept() {
        assert_eq!(chosen("0.2", 7), chosen("0.2", 7));
        assert_ne!(chosen("0.2", 7), chosen("0.2", 8));
        assert_eq!(chosen("0", 7).len(), 0);
        assert_eq!(chosen("1", 7).len(), 1000);
        let count = chosen("0.2", 7).len();
        assert!((150..250).contains(&count), "{count}");
    }

    #[test]
    fn a_message_comes_again_once() {
        let share = "1".parse().unwrap();
        let mut repeats = Repeats::new(Duplicates { share, seed: 0 });
        assert!(repeats.again("q", &message("a", "")));
        assert!(!repeats.again("q", &message("a", "")));
        assert!(repeats.under_way.is_empty());
    }
}
