//! Text to [`ClientFrame`].

use std::borrow::Cow;

use base64_simd::STANDARD as BASE64;
use memchr::memchr2;
use prost::Message;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use sparkle_core::{
    frame::{
        COMMENT_BYTES_MAX, CachePolicy, Chat, ClientFrame, Codec, Encoding, ErrorCode, Feedback,
        Format, Lookup, MESSAGE_BYTES_MAX, PAGE_ENTRIES_DEFAULT, PAGE_ENTRIES_MAX, Rating, Request,
        SessionsRequest, TARGET_ID_BYTES_MAX, TITLE_BYTES_MAX, Target, USAGE_DAYS_DEFAULT,
        USAGE_DAYS_MAX, USAGE_MONTHS_MAX, is_label, is_language,
    },
    id::{RequestId, SessionId, TraceId},
    unit::Timestamp,
};

use super::{
    JsonEnvelope, VERSION,
    deflate::{self, Broken},
    inplace::{self, NotProtobuf},
    profile,
};
use crate::generated::ws;

/// Most bytes of one message: what API Gateway lets through (its WebSocket quotas, read 2026-11).
pub const FRAME_BYTES_MAX: usize = 128 * 1024;
/// Most bytes of a payload once it is inflated: no more than could have come plain.
pub const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Deepest nesting of a JSON frame. Ours have three levels; the rest is room for unknown fields.
pub const JSON_DEPTH_MAX: usize = 16;
/// Most bytes of a token: the gateway's own limit for a URL, which tokens also travel in, is 4,096.
const TOKEN_BYTES_MAX: usize = 8_192;

/// A frame that is refused, with all that the refusal needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("frame refused: {}", code.as_str())]
pub struct FrameError {
    /// What is wrong.
    pub code: ErrorCode,
    /// Where, if it is in one field.
    pub field: Option<String>,
    /// Which request it was, if that could be read.
    pub request_id: Option<RequestId>,
    /// How the envelope was written, if it could be read.
    pub codec: Option<Codec>,
    /// The BCP 47 tag that a refused `chat` or `lookup` asked to be answered in, or empty.
    pub language: String,
}

/// What is wrong with a part of a frame; [`decode`] adds what it knows of the whole.
pub(super) struct Wrong {
    code: ErrorCode,
    field: Option<String>,
}

impl Wrong {
    fn whole(code: ErrorCode) -> Self {
        Self { code, field: None }
    }

    pub(super) fn argument(field: &str) -> Self {
        Self {
            code: ErrorCode::InvalidArgument,
            field: Some(field.to_owned()),
        }
    }

    pub(super) fn too_large(field: &str) -> Self {
        Self {
            code: ErrorCode::TooLarge,
            field: Some(field.to_owned()),
        }
    }
}

/// Reads a frame and says how it was written.
///
/// # Errors
/// [`FrameError`] for anything that is not a valid frame; it never panics, and costs at most one pass
/// over the text before the first limit is checked.
///
/// ```
/// use sparkle_core::frame::{ErrorCode, Format, Request};
/// use sparkle_wire::frame::decode;
///
/// let (format, frame) = decode(r#"{"version":"2.0","type":"ping","request_id":"r1"}"#)?;
/// assert_eq!((format, frame.request), (Format::default(), Request::Ping));
/// assert_eq!(decode("*").unwrap_err().code, ErrorCode::BadFrame);
/// # Ok::<(), sparkle_wire::frame::FrameError>(())
/// ```
pub fn decode(text: &str) -> Result<(Format, ClientFrame), FrameError> {
    let unread = |wrong: Wrong| FrameError {
        code: wrong.code,
        field: wrong.field,
        request_id: None,
        codec: None,
        language: String::new(),
    };
    if text.len() > FRAME_BYTES_MAX {
        return Err(unread(Wrong::whole(ErrorCode::TooLarge)));
    }
    let message;
    let (codec, envelope) = if text.trim_ascii_start().starts_with('{') {
        (Codec::Json, Envelope::from_json(text).map_err(unread)?)
    } else {
        message = from_base64(text.trim_ascii()).map_err(unread)?;
        let envelope = Envelope::from_protobuf(&message).map_err(unread)?;
        (Codec::Protobuf, envelope)
    };
    let mut language = String::new();
    match frame(&envelope, &mut language) {
        Ok((encoding, frame)) => Ok((Format { codec, encoding }, frame)),
        Err(Wrong { code, field }) => Err(FrameError {
            code,
            field,
            request_id: RequestId::parse(&*envelope.request_id).ok(),
            codec: Some(codec),
            language,
        }),
    }
}

/// Checks a question that comes without a frame, as one in a `lookup` is.
///
/// # Errors
/// [`FrameError`], with the field as a frame would have it.
pub fn check_lookup(question: Lookup) -> Result<Lookup, FrameError> {
    let Lookup {
        message,
        language,
        role,
        model,
    } = question;
    let asked = ws::LookupRequest {
        message,
        language,
        role,
        model,
    };
    let mut language = String::new();
    self::question(asked, &mut language).map_err(|Wrong { code, field }| FrameError {
        code,
        field,
        request_id: None,
        codec: None,
        language,
    })
}

/// An envelope whose payload is still unread.
struct Envelope<'a> {
    version: Cow<'a, str>,
    kind: Cow<'a, str>,
    request_id: Cow<'a, str>,
    trace_id: Cow<'a, str>,
    encoding: Cow<'a, str>,
    payload: Payload<'a>,
}

enum Payload<'a> {
    Json(Option<&'a RawValue>),
    Protobuf(&'a [u8]),
}

impl<'a> Envelope<'a> {
    fn from_json(text: &'a str) -> Result<Self, Wrong> {
        if json_depth(text) > JSON_DEPTH_MAX {
            return Err(Wrong::whole(ErrorCode::BadFrame));
        }
        let JsonEnvelope {
            version,
            kind,
            request_id,
            trace_id,
            encoding,
            payload,
            ..
        } = from_json(text)?;
        Ok(Self {
            version,
            kind,
            request_id,
            trace_id,
            encoding,
            payload: Payload::Json(payload),
        })
    }

    fn from_protobuf(message: &'a [u8]) -> Result<Self, Wrong> {
        let bad = || Wrong::whole(ErrorCode::BadFrame);
        if message.is_empty() {
            return Err(bad()); // it would be a message of defaults
        }
        let envelope = inplace::envelope(message).map_err(|NotProtobuf| bad())?;
        Ok(Self {
            version: envelope.version.into(),
            kind: envelope.kind.into(),
            request_id: envelope.request_id.into(),
            trace_id: envelope.trace_id.into(),
            encoding: envelope.encoding.into(),
            payload: Payload::Protobuf(envelope.payload),
        })
    }

    fn encoding(&self) -> Result<Encoding, Wrong> {
        let encoding = Encoding::of_word(&self.encoding);
        if encoding.as_str() == self.encoding {
            Ok(encoding)
        } else {
            Err(Wrong::argument("encoding"))
        }
    }

    fn payload<T: Message + Default + DeserializeOwned>(&self) -> Result<T, Wrong> {
        self.payload_by(|bytes| T::decode(bytes).map_err(NotProtobuf::from))
    }

    /// The payload, with a way of one's own to read its Protobuf.
    fn payload_by<T: Default + DeserializeOwned>(
        &self,
        read: impl Fn(&[u8]) -> Result<T, NotProtobuf>,
    ) -> Result<T, Wrong> {
        let read = |bytes: &[u8]| read(bytes).map_err(|NotProtobuf| Wrong::argument("payload"));
        match (&self.payload, self.encoding()?) {
            (Payload::Json(None), _) => Ok(T::default()),
            (Payload::Json(Some(json)), Encoding::Plain) => payload_from_json(json.get()),
            (Payload::Json(Some(json)), Encoding::Deflate) => {
                payload_from_json(inflate_json(json.get())?.get())
            }
            // Nothing is nothing in any encoding.
            (Payload::Protobuf(bytes), Encoding::Deflate) if !bytes.is_empty() => {
                read(&inflate(bytes)?)
            }
            (Payload::Protobuf(bytes), _) => read(bytes),
        }
    }
}

fn from_base64(text: &str) -> Result<Vec<u8>, Wrong> {
    BASE64
        .decode_to_vec(text)
        .map_err(|_not_base64| Wrong::whole(ErrorCode::BadFrame))
}

fn payload_from_json<T: DeserializeOwned>(json: &str) -> Result<T, Wrong> {
    // serde would take an array for the fields in their order.
    if !json.starts_with('{') {
        return Err(Wrong::argument("payload"));
    }
    from_json(json).map_err(|wrong| {
        // It was sound JSON, so what is wrong inside is an argument.
        let inside = wrong.field.map(|path| format!("payload.{path}"));
        Wrong::argument(inside.as_deref().unwrap_or("payload"))
    })
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, Wrong> {
    deflate::inflate(bytes, PAYLOAD_BYTES_MAX).map_err(|broken| match broken {
        Broken::TooLarge => Wrong::too_large("payload"),
        Broken::NotDeflate => Wrong::whole(ErrorCode::BadFrame),
    })
}

/// The JSON in a JSON string of base64 of deflated JSON.
fn inflate_json(json: &str) -> Result<Box<RawValue>, Wrong> {
    let bad = || Wrong::whole(ErrorCode::BadFrame);
    let base64: Cow<'_, str> =
        serde_json::from_str(json).map_err(|_not_text| Wrong::argument("payload"))?;
    let deflated = from_base64(&base64)?;
    let text = String::from_utf8(inflate(&deflated)?).map_err(|_not_text| bad())?;
    if json_depth(&text) > JSON_DEPTH_MAX {
        return Err(bad());
    }
    serde_json::from_str(&text).map_err(|_not_json| bad())
}

/// Reads JSON; a value of the wrong type is an argument, anything else a bad frame.
fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Wrong> {
    // Paths cost as much again, so they are only followed where something is wrong.
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        match error.inner().classify() {
            serde_json::error::Category::Data if path != "." => Wrong::argument(&path),
            _ => Wrong::whole(ErrorCode::BadFrame),
        }
    })?;
    json.end()
        .map_err(|_trailing| Wrong::whole(ErrorCode::BadFrame))?;
    Ok(value)
}

/// How deep JSON text nests, strings skipped; one pass, no allocation.
fn json_depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = after_string(rest),
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What follows a JSON string whose opening quote is behind.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        let (_, found) = rest.split_at(at);
        match found {
            [b'"', after @ ..] => return after,
            [_, _, after @ ..] => rest = after, // an escape and what it escapes
            _ => break,
        }
    }
    &[]
}

fn frame(envelope: &Envelope<'_>, language: &mut String) -> Result<(Encoding, ClientFrame), Wrong> {
    if envelope.version != VERSION {
        return Err(Wrong::whole(ErrorCode::UnsupportedVersion));
    }
    let request_id = RequestId::parse(&*envelope.request_id)
        .map_err(|_invalid| Wrong::argument("request_id"))?;
    let trace_id = match &*envelope.trace_id {
        "" => None,
        text => Some(TraceId::parse(text).map_err(|_invalid| Wrong::argument("trace_id"))?),
    };
    let encoding = envelope.encoding()?;
    let request = match &*envelope.kind {
        "chat" => Request::Chat(chat(envelope.payload_by(inplace::chat)?, language)?),
        "cancel" => {
            let ws::CancelRequest { request_id } = envelope.payload()?;
            let request_id = RequestId::parse(request_id)
                .map_err(|_invalid| Wrong::argument("payload.request_id"))?;
            Request::Cancel { request_id }
        }
        "resume" => {
            let ws::ResumeRequest {
                request_id,
                after_seq,
            } = envelope.payload()?;
            let request_id = RequestId::parse(request_id)
                .map_err(|_invalid| Wrong::argument("payload.request_id"))?;
            Request::Resume {
                request_id,
                after_seq,
            }
        }
        "ping" => envelope.payload::<ws::Empty>().map(|_| Request::Ping)?,
        "models" => envelope.payload::<ws::Empty>().map(|_| Request::Models)?,
        "quota" => envelope.payload::<ws::Empty>().map(|_| Request::Quota)?,
        "usage" => usage(envelope.payload()?)?,
        "profile.get" => envelope.payload::<ws::Empty>().map(|_| Request::Profile)?,
        "profile.update" => Request::ChangeProfile(profile::change(envelope.payload()?)?),
        "lookup" => Request::Lookup(question(envelope.payload()?, language)?),
        "feedback" => Request::Feedback(feedback(envelope.payload()?)?),
        "history" => history(envelope.payload()?)?,
        "sessions" => Request::Sessions(sessions(envelope.payload()?)?),
        "auth" => auth(envelope.payload()?)?,
        "" => return Err(Wrong::argument("type")),
        _ => return Err(Wrong::whole(ErrorCode::UnknownType)),
    };
    let frame = ClientFrame {
        request_id,
        trace_id,
        request,
    };
    Ok((encoding, frame))
}

fn chat(payload: ws::ChatMessage, language: &mut String) -> Result<Chat, Wrong> {
    let ws::ChatMessage {
        session_id,
        user_id,
        tool_calls,
        cache,
        ..
    } = payload;
    let asked = ws::LookupRequest {
        message: payload.message,
        language: payload.language,
        role: payload.role,
        model: payload.model,
    };
    let Lookup {
        message,
        language,
        role,
        model,
    } = question(asked, language)?;
    let session_id = match session_id {
        id if id.is_empty() => None,
        id => Some(SessionId::parse(id).map_err(|_invalid| Wrong::argument("payload.session_id"))?),
    };
    if !tool_calls.is_empty() {
        return Err(Wrong::argument("payload.tool_calls")); // clients run no tools in this release
    }
    let cache = CachePolicy::parse(&cache).ok_or_else(|| Wrong::argument("payload.cache"))?;
    Ok(Chat {
        session_id,
        user_id: Some(user_id).filter(|id| !id.is_empty()),
        message,
        language,
        role,
        model,
        cache,
    })
}

/// What is asked, of whom and in which language; `spoken` is that language as soon as it is known.
fn question(payload: ws::LookupRequest, spoken: &mut String) -> Result<Lookup, Wrong> {
    let ws::LookupRequest {
        message,
        language,
        role,
        model,
    } = payload;
    if !is_language(&language) {
        return Err(Wrong::argument("payload.language"));
    }
    spoken.clone_from(&language);
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Wrong::too_large("payload.message"));
    }
    if message.trim().is_empty() || has_odd_character(&message) {
        return Err(Wrong::argument("payload.message"));
    }
    if !is_label(&role) {
        return Err(Wrong::argument("payload.role"));
    }
    if !is_label(&model) {
        return Err(Wrong::argument("payload.model"));
    }
    Ok(Lookup {
        message,
        language,
        role,
        model,
    })
}

fn feedback(payload: ws::FeedbackRequest) -> Result<Feedback, Wrong> {
    let target = Target::parse(&payload.target).ok_or_else(|| Wrong::argument("payload.target"))?;
    if payload.id.len() > TARGET_ID_BYTES_MAX {
        return Err(Wrong::too_large("payload.id"));
    }
    if payload.id.trim().is_empty() || payload.id.contains(char::is_control) {
        return Err(Wrong::argument("payload.id"));
    }
    let rating =
        Rating::of_stars(payload.rating).ok_or_else(|| Wrong::argument("payload.rating"))?;
    if payload.comment.len() > COMMENT_BYTES_MAX {
        return Err(Wrong::too_large("payload.comment"));
    }
    if has_odd_character(&payload.comment) {
        return Err(Wrong::argument("payload.comment"));
    }
    Ok(Feedback {
        target,
        id: payload.id,
        rating,
        comment: payload.comment,
    })
}

/// Whether a text holds a control character other than tab, line feed and carriage return.
fn has_odd_character(text: &str) -> bool {
    // Byte by byte, which the compiler makes many at once of; 0xC2 may begin U+0080 to U+009F.
    let is_suspect = |byte: u8| byte < 0x20 || byte == 0x7f || byte == 0xc2;
    text.bytes().fold(false, |any, byte| any | is_suspect(byte))
        && text.contains(|c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}

fn history(payload: ws::HistoryRequest) -> Result<Request, Wrong> {
    let session_id = SessionId::parse(payload.session_id)
        .map_err(|_invalid| Wrong::argument("payload.session_id"))?;
    let before =
        u64::try_from(payload.before).map_err(|_negative| Wrong::argument("payload.before"))?;
    let before = Some(before).filter(|&position| position > 0);
    Ok(Request::History {
        session_id,
        before,
        limit: page_limit(payload.limit)?,
    })
}

fn sessions(payload: ws::SessionsRequest) -> Result<SessionsRequest, Wrong> {
    let session_id = SessionId::parse(&*payload.session_id)
        .map_err(|_invalid| Wrong::argument("payload.session_id"));
    match &*payload.action {
        "" | "list" if payload.before < 0 => Err(Wrong::argument("payload.before")),
        "" | "list" => {
            let before = Some(payload.before)
                .filter(|&ms| ms > 0)
                .map(Timestamp::from_unix_ms);
            Ok(SessionsRequest::List {
                before,
                limit: page_limit(payload.limit)?,
            })
        }
        "rename" if payload.title.len() > TITLE_BYTES_MAX => Err(Wrong::too_large("payload.title")),
        "rename" if payload.title.trim().is_empty() || payload.title.contains(char::is_control) => {
            Err(Wrong::argument("payload.title"))
        }
        "rename" => Ok(SessionsRequest::Rename {
            session_id: session_id?,
            title: payload.title,
        }),
        "delete" => Ok(SessionsRequest::Delete {
            session_id: session_id?,
        }),
        _ => Err(Wrong::argument("payload.action")),
    }
}

fn usage(payload: ws::UsageRequest) -> Result<Request, Wrong> {
    let days = match payload.days {
        0 => USAGE_DAYS_DEFAULT,
        1..=USAGE_DAYS_MAX => payload.days,
        _ => return Err(Wrong::argument("payload.days")),
    };
    match payload.months {
        0..=USAGE_MONTHS_MAX => Ok(Request::Usage {
            days,
            months: payload.months,
        }),
        _ => Err(Wrong::argument("payload.months")),
    }
}

fn auth(payload: ws::AuthRequest) -> Result<Request, Wrong> {
    match payload.token.len() {
        0 => Err(Wrong::argument("payload.token")),
        1..=TOKEN_BYTES_MAX => Ok(Request::Auth {
            token: payload.token,
        }),
        _ => Err(Wrong::too_large("payload.token")),
    }
}

fn page_limit(limit: u32) -> Result<u32, Wrong> {
    match limit {
        0 => Ok(PAGE_ENTRIES_DEFAULT),
        1..=PAGE_ENTRIES_MAX => Ok(limit),
        _ => Err(Wrong::argument("payload.limit")),
    }
}
