//! Who wants to follow a turn, as the texts of a set.

use aws_sdk_dynamodb::types::AttributeValue;
use sparkle_core::{
    frame::{Destination, Encoding, Format},
    id::{ConnectionId, RequestId},
};
use sparkle_wire::job;

/// Who wants to follow a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Which turn.
    pub request_id: RequestId,
    /// Where its frames go.
    pub destination: Destination,
    /// From where on.
    pub start: Start,
    /// The request that asked: what tells it from another wish of the same connection.
    pub asked_by: RequestId,
}

/// From where on a listener wants frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From the beginning, unless its connection gets them already: it has repeated its question.
    Whole,
    /// After this one, even if its connection gets them already: it has missed some.
    After(u32),
}

impl Start {
    /// The last frame that is not wanted.
    pub fn after_seq(self) -> u32 {
        match self {
            Self::Whole => 0,
            Self::After(seq) => seq,
        }
    }
}

impl Listener {
    pub(super) fn to_text(&self) -> String {
        let Destination {
            connection_id,
            format,
        } = &self.destination;
        let start = match self.start {
            Start::Whole => "-".to_owned(),
            Start::After(seq) => seq.to_string(),
        };
        format!(
            "{} {} {}. {start} {} {connection_id}",
            self.request_id,
            job::codec_word(format.codec),
            format.encoding.as_str(),
            self.asked_by,
        )
    }

    /// None for what no release of ours wrote.
    fn of_text(text: &str) -> Option<Self> {
        let mut words = text.splitn(6, ' ');
        let (request, codec, encoding) = (words.next()?, words.next()?, words.next()?);
        let (start, asked_by, connection) = (words.next()?, words.next()?, words.next()?);
        Some(Self {
            request_id: RequestId::parse(request).ok()?,
            destination: Destination {
                connection_id: ConnectionId::parse(connection).ok()?,
                format: Format {
                    codec: job::codec_of_word(codec)?,
                    encoding: Encoding::of_word(encoding.strip_suffix('.')?),
                },
            },
            start: match start {
                "-" => Start::Whole,
                seq => Start::After(seq.parse().ok()?),
            },
            asked_by: RequestId::parse(asked_by).ok()?,
        })
    }
}

/// Those of one turn.
pub(super) fn of_request(texts: &[String], request: &RequestId) -> Vec<Listener> {
    let listeners = texts.iter().filter_map(|text| Listener::of_text(text));
    listeners
        .filter(|listener| listener.request_id == *request)
        .collect()
}

/// As a set, which is never empty in `DynamoDB`.
pub(super) fn set(listeners: &[Listener]) -> AttributeValue {
    AttributeValue::Ss(listeners.iter().map(Listener::to_text).collect())
}

#[cfg(test)]
mod tests {
    use sparkle_core::frame::Codec;

    use super::*;

    #[test]
    fn a_listener_is_read_as_it_was_written() {
        for start in [Start::Whole, Start::After(0), Start::After(u32::MAX)] {
            for encoding in [Encoding::Plain, Encoding::Deflate] {
                let listener = Listener {
                    request_id: RequestId::parse("r-1").unwrap(),
                    destination: Destination {
                        connection_id: ConnectionId::parse("a b= c").unwrap(),
                        format: Format {
                            codec: Codec::Protobuf,
                            encoding,
                        },
                    },
                    start,
                    asked_by: RequestId::parse("r-2").unwrap(),
                };
                assert_eq!(Listener::of_text(&listener.to_text()), Some(listener));
            }
        }
        for strange in [
            "",
            "r",
            "r json . 1",
            "r json x 1 c",
            "r json . x c",
            "r xml . 1 c",
        ] {
            assert_eq!(Listener::of_text(strange), None, "{strange:?}");
        }
    }
}
