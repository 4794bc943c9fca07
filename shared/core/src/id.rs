//! Ids: each a type of its own, valid by construction.

use std::fmt;

use crate::unit::Timestamp;
use sha2::{Digest, Sha256};

/// An id that a client or an issuer sent is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid id")]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Takes the id if it is valid.
            ///
            /// # Errors
            /// [`InvalidId`] otherwise.
            pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                if $valid(&text) { Ok(Self(text)) } else { Err(InvalidId) }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn is_token(text: &str) -> bool {
    // Not `all`: without a way out in the middle the compiler looks at many bytes at once.
    let is_of_token = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=64).contains(&text.len()) && text.bytes().fold(true, |all, b| all & is_of_token(b))
}

fn is_call(text: &str) -> bool {
    let is_of_call = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=80).contains(&text.len()) && text.bytes().all(is_of_call)
}

fn is_opaque(text: &str) -> bool {
    (1..=128).contains(&text.len()) && !text.chars().any(char::is_control)
}

id! {
    /// A learner: the `sub` of the token. 1 to 128 bytes without control characters.
    UserId, is_opaque
}
id! {
    /// One request of one learner, chosen by the client. 1 to 64 of `A-Za-z0-9_-`.
    RequestId, is_token
}
id! {
    /// One conversation of one learner. 1 to 64 of `A-Za-z0-9_-`.
    SessionId, is_token
}
id! {
    /// One open WebSocket, named by API Gateway. 1 to 128 bytes without control characters.
    ConnectionId, is_opaque
}

id! {
    /// One call of a model, or what an outside producer bills. 1 to 80 of `A-Za-z0-9_-.`.
    CallId, is_call
}

/// All calls that are made for one job: their ids begin with it, and no others of the learner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallGroup(String);

impl CallGroup {
    /// Of a turn. A request's id may come again after a day; the moment at which it was accepted does not.
    pub fn of_turn(request: &RequestId, accepted_at: Timestamp) -> Self {
        Self(format!("{request}.{:x}.", accepted_at.unix_ms()))
    }

    /// Of an order to summarise a conversation, which may be given again for another conversation.
    pub fn of_summary(session: &SessionId, order: &RequestId) -> Self {
        let digest = digest(&[session.as_str(), order.as_str()]);
        // Longer than any moment, so that it is no turn's.
        Self(format!("summary.{}.", digest.get(..24).unwrap_or_default()))
    }

    /// The call that an attempt at the job makes.
    pub fn call(&self, attempt: u32) -> CallId {
        CallId(format!("{}{attempt}", self.0))
    }

    /// The call that a run at the job makes, which is the invocation's number `attempt`.
    pub fn call_of(&self, invocation: &str, attempt: u32) -> CallId {
        let digest = digest(&[invocation, &attempt.to_string()]);
        CallId(format!(
            "{}{}",
            self.0,
            digest.get(..24).unwrap_or_default()
        ))
    }

    /// What the ids begin with.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CallId {
    /// The call that places a turn's question among others. No call of its group is called so.
    pub fn embedding(user: &UserId, request: &RequestId, at: Timestamp) -> Self {
        Self::beside("embedding", user, request, at)
    }

    /// The call that judges whether a turn's question asks the same as another. No call of its group is called so.
    pub fn judgement(user: &UserId, request: &RequestId, at: Timestamp) -> Self {
        Self::beside("judgement", user, request, at)
    }

    fn beside(what: &str, user: &UserId, request: &RequestId, at: Timestamp) -> Self {
        let at = at.unix_ms().to_string();
        let digest = digest(&[user.as_str(), request.as_str(), &at]);
        Self(format!("{what}.{}", digest.get(..24).unwrap_or_default()))
    }
}

impl SessionId {
    /// The session that a request without one starts: the same on every copy of the request.
    pub fn started_by(user: &UserId, request: &RequestId) -> Self {
        let digest = digest(&[user.as_str(), request.as_str()]);
        Self(format!("s-{}", digest.get(..24).unwrap_or_default()))
    }
}

/// Stands for a request on every frame of its stream: 31 bits of a hash of user and request id,
/// never 0, the same on every connection. Two requests of one learner share it once in 2^31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(u32);

impl StreamId {
    /// The stream of a request.
    pub fn of(user: &UserId, request: &RequestId) -> Self {
        let digest = digest(&[user.as_str(), request.as_str()]);
        let bits = digest
            .get(..8)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok());
        Self((bits.unwrap_or_default() & 0x7fff_ffff).max(1))
    }

    /// The number on the wire.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// Longest name of a model or a producer of bills.
const NAME_BYTES_MAX: usize = 64;

/// Whether a text may name a model or a producer of bills: 1 to 64 of `A-Za-z0-9_-.:/@`.
pub fn is_name(text: &str) -> bool {
    let is_of_name = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/@".contains(&b);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_of_name)
}

/// SHA-256 of a tuple of texts as 64 hex digits. Each text is preceded by its length, so that no two
/// tuples share one.
///
/// ```
/// use sparkle_core::id::digest;
///
/// assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
/// ```
pub fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    hash.iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// A W3C trace id: 16 bytes as 32 lower-case hex digits, not all zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TraceId(String);

impl TraceId {
    /// Takes 32 hex digits, in either case.
    ///
    /// # Errors
    /// [`InvalidId`] for anything else, and for all zeros.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let is_hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let is_zero = text.bytes().all(|b| b == b'0');
        if is_hex && !is_zero {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(InvalidId)
        }
    }

    /// The trace of a request whose client named none: the same for the same `parts`, which are
    /// unique to it.
    pub fn derived_from(parts: &[&str]) -> Self {
        Self(digest(parts).get(..32).unwrap_or_default().to_owned())
    }

    /// The 32 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same trace in the form of X-Ray's `X-Amzn-Trace-Id` and SQS's `AWSTraceHeader`.
    pub fn to_xray_header(&self) -> String {
        let (epoch, unique) = self.0.split_at(8);
        format!("Root=1-{epoch}-{unique};Sampled=1")
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> UserId {
        UserId::parse(text).unwrap()
    }

    #[test]
    fn no_two_jobs_of_a_learner_share_a_call() {
        let request = |text: &str| RequestId::parse(text).unwrap();
        let session = |text: &str| SessionId::parse(text).unwrap();
        let turn =
            |id: &str, at_ms| CallGroup::of_turn(&request(id), Timestamp::from_unix_ms(at_ms));
        let now_ms = 1_764_000_000_000;
        let groups = [
            turn("r", now_ms),
            turn("r", now_ms + 24 * 60 * 60 * 1000),
            turn("summary", now_ms),
            CallGroup::of_summary(&session("s1"), &request("r")),
            CallGroup::of_summary(&session("s2"), &request("r")),
        ];
        let calls = groups.iter().flat_map(|group| {
            let again = group.call_of("i2", 1);
            [group.call(1), group.call(11), group.call_of("i1", 1), again]
        });
        let calls: Vec<CallId> = calls.collect();
        for (place, call) in calls.iter().enumerate() {
            assert_eq!(CallId::parse(call.as_str()).as_ref(), Ok(call));
            assert!(!calls[..place].contains(call), "{call}");
            let of = groups
                .iter()
                .filter(|group| call.as_str().starts_with(group.as_str()));
            assert_eq!(of.count(), 1, "{call}");
        }
        let longest = turn(&"x".repeat(64), now_ms).call(999);
        assert!(CallId::parse(longest.as_str()).is_ok());
    }

    #[test]
    fn ids_refuse_what_could_forge_a_key() {
        for bad in ["", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert_eq!(RequestId::parse(bad), Err(InvalidId), "{bad:?}");
        }
        assert!(RequestId::parse("A-z_9").is_ok());
        assert_eq!(UserId::parse("a\u{0}b"), Err(InvalidId));
    }

    #[test]
    fn a_stream_belongs_to_user_and_request() {
        let request = RequestId::parse("r1").unwrap();
        let one = StreamId::of(&user("ann"), &request);
        assert_eq!(one, StreamId::of(&user("ann"), &request));
        assert_ne!(one, StreamId::of(&user("bob"), &request));
        assert!(one.get() > 0 && one.get() < 1 << 31);
    }

    #[test]
    fn a_trace_id_is_read_in_either_case_and_never_zero() {
        let hex = "4BF92F3577B34DA6A3CE929D0E0E4736";
        let trace = TraceId::parse(hex).unwrap();
        assert_eq!(trace.as_str(), hex.to_lowercase());
        assert_eq!(
            trace.to_xray_header(),
            "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Sampled=1"
        );
        assert!(TraceId::parse(&"0".repeat(32)).is_err());
        assert!(TraceId::parse("4bf9").is_err());
    }
}
