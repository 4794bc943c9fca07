//! Messages on our own queues: base64 of Protobuf, since an SQS body is text.

use base64_simd::STANDARD as BASE64;
use prost::Message;
use sparkle_core::{
    cache::entry::{Namespace, Place, Scope},
    frame::{CachePolicy, Codec, Destination, Encoding, Format, TurnJob},
    id::{self, CallId, ConnectionId, InvalidId, RequestId, SessionId, TraceId, UserId},
    ledger::{Bill, Call, Purpose},
    policy::Tier,
    profile::{Level, Manner, Personal, Style},
    summary::SummaryJob,
    unit::{MicroUsd, Timestamp, TokenUsage},
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
    #[error("the job has version {0}, which this release does not read")]
    Version(u32),
    /// One of its ids is not valid.
    #[error("the job names an invalid id")]
    Id(#[from] InvalidId),
    /// Its codec is neither `json` nor `protobuf`.
    #[error("the job names an unknown codec")]
    Codec,
    /// Another field is missing or out of its range.
    #[error("the job's {0} is missing or not acceptable")]
    Field(&'static str),
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
        tier: turn.tier.as_str().to_owned(),
        cache: turn.cache.as_str().to_owned(),
        manner: turn.manner.as_ref().map(manner_message),
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
        destination: destination(message.connection_id, &message.codec, &message.encoding)?,
        trace_id: TraceId::parse(&message.trace_id)?,
        accepted_at: Timestamp::from_unix_ms(message.accepted_at),
        tier: Tier::of_word(&message.tier),
        // A word that this release does not know asks for the least.
        cache: CachePolicy::parse(&message.cache).unwrap_or(CachePolicy::Bypass),
        manner: message.manner.as_ref().map(manner),
    })
}

fn manner_message(manner: &Manner) -> job::Manner {
    let Manner { style, personal } = manner;
    let nickname = personal.as_ref().map_or("", Personal::nickname);
    job::Manner {
        language: style.language.clone(),
        persona: style.persona.clone(),
        depth: style.depth.as_str().to_owned(),
        curiosity: style.curiosity.as_str().to_owned(),
        nickname: nickname.to_owned(),
    }
}

fn manner(message: &job::Manner) -> Manner {
    let style = Style {
        depth: Level::of_word(&message.depth),
        curiosity: Level::of_word(&message.curiosity),
        ..Style::default().asked(&message.language, &message.persona)
    };
    let personal = Personal::of(&message.nickname);
    Manner { style, personal }
}

fn destination(
    connection_id: String,
    codec: &str,
    encoding: &str,
) -> Result<Destination, JobError> {
    Ok(Destination {
        connection_id: ConnectionId::parse(connection_id)?,
        format: Format {
            codec: codec_of_word(codec).ok_or(JobError::Codec)?,
            encoding: Encoding::of_word(encoding),
        },
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

/// The version of [`Bill`] messages that this release writes and reads.
pub const BILL_VERSION: u32 = 1;
/// Writes a call of a model as an SQS body, at most about 1 KB.
pub fn encode_bill(bill: &Bill) -> String {
    let Bill {
        call,
        destination,
        served,
    } = bill;
    let (connection_id, codec, encoding) = match destination {
        Some(to) => (
            to.connection_id.as_str(),
            codec_word(to.format.codec),
            to.format.encoding.as_str(),
        ),
        None => ("", "", ""),
    };
    let cost = call
        .cost
        .map(|cost| i64::try_from(cost.get()).unwrap_or(i64::MAX));
    let message = job::BillingJob {
        version: BILL_VERSION,
        call_id: call.id.to_string(),
        user_id: call.user_id.to_string(),
        session_id: or_empty(call.session_id.as_ref()),
        request_id: or_empty(call.request_id.as_ref()),
        trace_id: or_empty(call.trace_id.as_ref()),
        model: call.model.clone(),
        kind: call.purpose.as_str().to_owned(),
        prompt_tokens: call.tokens.prompt_tokens,
        cached_tokens: call.tokens.cached_tokens,
        completion_tokens: call.tokens.completion_tokens,
        estimated: call.estimated,
        cost_microusd: cost,
        settled_at: call.settled_at.unix_ms(),
        saved_tokens: call.saved_tokens,
        connection_id: connection_id.to_owned(),
        codec: codec.to_owned(),
        encoding: encoding.to_owned(),
        source: call.source.clone(),
        served: served.as_ref().map_or_else(String::new, place_word),
    };
    BASE64.encode_to_string(message.encode_to_vec())
}

/// Reads a call of a model from an SQS body, which may come from an outside producer.
///
/// # Errors
/// [`JobError`] if it is not one, or one of which a line of the ledger cannot be made.
pub fn decode_bill(body: &str) -> Result<Bill, JobError> {
    let message = job::BillingJob::decode(&*BASE64.decode_to_vec(body.trim_ascii())?)?;
    if message.version != BILL_VERSION {
        return Err(JobError::Version(message.version));
    }
    let purpose = Purpose::of_word(&message.kind).ok_or(JobError::Field("kind"))?;
    if !id::is_name(&message.model) {
        return Err(JobError::Field("model"));
    }
    if !message.source.is_empty() && !id::is_name(&message.source) {
        return Err(JobError::Field("source"));
    }
    // Ours are what a provider said: a line of absurd figures is better than none.
    if message.cached_tokens > message.prompt_tokens && !message.source.is_empty() {
        return Err(JobError::Field("cached_tokens"));
    }
    if message.settled_at <= 0 {
        return Err(JobError::Field("settled_at"));
    }
    let destination = match message.connection_id {
        id if id.is_empty() => None,
        id => Some(destination(id, &message.codec, &message.encoding)?),
    };
    // A negative cost is none.
    let cost = message
        .cost_microusd
        .and_then(|cost| u64::try_from(cost).ok());
    let call = Call {
        id: CallId::parse(message.call_id)?,
        source: message.source,
        user_id: UserId::parse(message.user_id)?,
        session_id: if_any(message.session_id, SessionId::parse)?,
        request_id: if_any(message.request_id, RequestId::parse)?,
        trace_id: if_any(message.trace_id, |id| TraceId::parse(&id))?,
        model: message.model,
        purpose,
        tokens: TokenUsage {
            prompt_tokens: message.prompt_tokens,
            cached_tokens: message.cached_tokens,
            completion_tokens: message.completion_tokens,
        },
        estimated: message.estimated,
        cost: cost.map(MicroUsd::new),
        settled_at: Timestamp::from_unix_ms(message.settled_at),
        saved_tokens: message.saved_tokens,
    };
    let served = match call.source.as_str() {
        "" => place_of_word(&message.served, &call.user_id),
        _ => None,
    };
    Ok(Bill {
        call,
        destination,
        served,
    })
}

/// A place of the cache as one word, in jobs and stored items. It does not say whose it is: a learner's own
/// answers are those of who pays.
pub fn place_word(place: &Place) -> String {
    let scope = match place.scope {
        Scope::Learner(_) => "learner",
        Scope::Everybody => "everybody",
    };
    format!("{scope}/{}/{}", place.namespace.as_str(), place.digest)
}

/// The place that a word stands for, where `payer` paid or was spared it; none if it is none.
pub fn place_of_word(word: &str, payer: &UserId) -> Option<Place> {
    let (scope, place) = word.split_once('/')?;
    let (namespace, digest) = place.split_once('/')?;
    let scope = match scope {
        "learner" => Scope::Learner(payer.clone()),
        "everybody" => Scope::Everybody,
        _ => return None,
    };
    Some(Place {
        scope,
        namespace: Namespace::parse(namespace)?,
        digest: digest.to_owned(),
    })
}

/// The version of [`SummaryJob`] messages that this release writes and reads.
pub const SUMMARY_JOB_VERSION: u32 = 1;

/// Writes an order for a summary as an SQS body, at most about 500 bytes.
pub fn encode_summary(order: &SummaryJob) -> String {
    let message = job::SummaryJob {
        version: SUMMARY_JOB_VERSION,
        job_id: order.id.to_string(),
        user_id: order.user_id.to_string(),
        session_id: order.session_id.to_string(),
        trace_id: order.trace_id.to_string(),
        upto: order.upto,
        requested_at: order.requested_at.unix_ms(),
        tier: order.tier.as_str().to_owned(),
    };
    BASE64.encode_to_string(message.encode_to_vec())
}

/// Reads an order for a summary from an SQS body, which may come from an outside producer.
///
/// # Errors
/// [`JobError`] if it is not one.
pub fn decode_summary(body: &str) -> Result<SummaryJob, JobError> {
    let message = job::SummaryJob::decode(&*BASE64.decode_to_vec(body.trim_ascii())?)?;
    if message.version != SUMMARY_JOB_VERSION {
        return Err(JobError::Version(message.version));
    }
    if message.upto == 0 {
        return Err(JobError::Field("upto"));
    }
    if message.requested_at <= 0 {
        return Err(JobError::Field("requested_at"));
    }
    Ok(SummaryJob {
        id: RequestId::parse(message.job_id)?,
        user_id: UserId::parse(message.user_id)?,
        session_id: SessionId::parse(message.session_id)?,
        trace_id: TraceId::parse(&message.trace_id)?,
        upto: message.upto,
        requested_at: Timestamp::from_unix_ms(message.requested_at),
        tier: Tier::of_word(&message.tier),
    })
}

fn or_empty(id: Option<&impl ToString>) -> String {
    id.map_or_else(String::new, ToString::to_string)
}

/// The id, if the field has one.
fn if_any<T>(
    text: String,
    parse: impl Fn(String) -> Result<T, InvalidId>,
) -> Result<Option<T>, InvalidId> {
    if text.is_empty() {
        Ok(None)
    } else {
        parse(text).map(Some)
    }
}
