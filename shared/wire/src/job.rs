//! Messages on our own queues: base64 of Protobuf, since an SQS body is text.

use base64_simd::STANDARD as BASE64;
use prost::Message;
use sparkle_core::{
    frame::{Codec, Destination, Encoding, Format, TurnJob},
    id::{ConnectionId, InvalidId, RequestId, SessionId, TraceId, UserId},
    unit::Timestamp,
};

use crate::generated::job;

/// The version of [`TurnJob`] messages that this release writes and reads.
pub const TURN_JOB_VERSION: u32 = 1;

/// A queue message that cannot be used; it belongs in the dead-letter queue.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It is not base64.
    #[error("the message is not base64")]
    Base64(#[from] base64_simd::Error),
    /// It is not Protobuf.
    #[error("the message is not a job")]
    Protobuf(#[from] prost::DecodeError),
    /// It is of a version that this release does not know.
    #[error("the job has version {0}, this release reads {TURN_JOB_VERSION}")]
    Version(u32),
    /// One of its ids is not valid.
    #[error("the job names an invalid id")]
    Id(#[from] InvalidId),
    /// Its codec is neither `json` nor `protobuf`.
    #[error("the job names an unknown codec")]
    Codec,
}

/// Writes a turn as an SQS body, at most about 50 KB.
pub fn encode_turn(turn: &TurnJob) -> String {
    let message = job::TurnJob {
        version: TURN_JOB_VERSION,
        user_id: turn.user_id.to_string(),
        session_id: turn.session_id.to_string(),
        request_id: turn.request_id.to_string(),
        message: turn.message.clone(),
        language: turn.language.clone(),
        role: turn.role.clone(),
        model: turn.model.clone(),
        connection_id: turn.destination.connection_id.to_string(),
        codec: codec_word(turn.destination.format.codec).to_owned(),
        trace_id: turn.trace_id.to_string(),
        accepted_at: turn.accepted_at.unix_ms(),
        encoding: turn.destination.format.encoding.as_str().to_owned(),
    };
    BASE64.encode_to_string(message.encode_to_vec())
}

/// Reads a turn from an SQS body.
///
/// # Errors
/// [`JobError`] if it is not one.
pub fn decode_turn(body: &str) -> Result<TurnJob, JobError> {
    let message = job::TurnJob::decode(&*BASE64.decode_to_vec(body.trim_ascii())?)?;
    if message.version != TURN_JOB_VERSION {
        return Err(JobError::Version(message.version));
    }
    Ok(TurnJob {
        user_id: UserId::parse(message.user_id)?,
        session_id: SessionId::parse(message.session_id)?,
        request_id: RequestId::parse(message.request_id)?,
        message: message.message,
        language: message.language,
        role: message.role,
        model: message.model,
        destination: Destination {
            connection_id: ConnectionId::parse(message.connection_id)?,
            format: Format {
                codec: codec_of_word(&message.codec).ok_or(JobError::Codec)?,
                encoding: Encoding::of_word(&message.encoding),
            },
        },
        trace_id: TraceId::parse(&message.trace_id)?,
        accepted_at: Timestamp::from_unix_ms(message.accepted_at),
    })
}

/// The word for a codec in jobs and stored items.
pub fn codec_word(codec: Codec) -> &'static str {
    match codec {
        Codec::Json => "json",
        Codec::Protobuf => "protobuf",
    }
}

/// The codec that a word stands for.
pub fn codec_of_word(word: &str) -> Option<Codec> {
    [Codec::Json, Codec::Protobuf]
        .into_iter()
        .find(|&codec| codec_word(codec) == word)
}
