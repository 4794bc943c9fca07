//! Ids: each a type of its own, valid by construction.

use std::fmt;

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
