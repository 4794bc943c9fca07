//! The front door: every frame that a client sends.
//!
//! It only admits and answers what needs no model. A `chat` is decoded, checked, made durable, queued
//! and acknowledged; the turn itself runs in `turn-worker`, which may outlive this function's 29 s
//! (docs/adr/0001). Whatever is wrong with a frame, its client gets one `error` frame and goes on.

mod admit;
mod answer;
mod follow;

use std::time::Duration;

use sparkle_aws::{
    event::{RouteAnswer, SocketEvent},
    failure::{Failure, causes},
    metric,
    push::{Posted, Push},
    queue::TurnQueue,
    table::{
        connections::{Connection, Connections},
        conversations::Conversations,
        leases::Leases,
        rates::{Rate, Rates},
        turns::Turns,
    },
    token::{Identity, Tokens},
};
use sparkle_core::{
    frame::{
        ClientFrame, Codec, Destination, Encoding, ErrorBody, ErrorCode, Format, Request,
        ServerFrame,
    },
    id::{StreamId, TraceId},
    notice::{self, Language},
    price::Catalogue,
    unit::Timestamp,
};
use sparkle_wire::frame::{self, FrameError};
use tracing::{Instrument, info_span, warn};

/// What a warm instance keeps.
#[derive(Debug)]
#[expect(missing_docs, reason = "each type says what it is")]
pub struct App {
    pub connections: Connections,
    pub rates: Rates,
    pub turns: Turns,
    pub leases: Leases,
    pub conversations: Conversations,
    pub queue: TurnQueue,
    pub push: Push,
    pub tokens: Tokens,
    pub catalogue: Catalogue,
}

/// A frame that is to be answered, and all that answering it takes.
struct Asked<'a> {
    app: &'a App,
    identity: &'a Identity,
    destination: &'a Destination,
    frame: &'a ClientFrame,
    trace_id: TraceId,
    now: Timestamp,
}

/// What came with a frame: the frame, or what is wrong with it.
type Decoded = Result<(Format, ClientFrame), FrameError>;

/// Answers one frame.
///
/// # Errors
/// [`Failure`] only if nothing could be said to the client; API Gateway then tells it so itself.
/// Cost: two calls at once to know who speaks, one post, and what the request takes.
pub async fn handle(app: &App, event: SocketEvent, now: Timestamp) -> Result<RouteAnswer, Failure> {
    let decoded = frame::decode(event.body.as_deref().unwrap_or_default());
    let method = decoded
        .as_ref()
        .map_or("unreadable", |(_, frame)| frame.request.name());
    let (identity, destination, rate) = app.who_speaks(&event, &decoded, now).await?;

    let answered = match (&decoded, rate) {
        _ if identity.expires_at <= now => Some(refusal(&decoded, ErrorCode::Unauthenticated)),
        (_, Rate::Exceeded { retry_after }) => Some(rate_limited(&decoded, retry_after)),
        (Err(error), Rate::Within) => Some(unreadable(error)),
        (Ok((_, frame)), Rate::Within) => {
            let trace_id = frame.trace_id.clone().unwrap_or_else(|| {
                let (user, request) = (identity.user_id.as_str(), frame.request_id.as_str());
                TraceId::derived_from(&[user, request, &now.unix_ms().to_string()])
            });
            let span = info_span!("frame", method, trace_id = trace_id.as_str());
            let (identity, destination) = (&identity, &destination);
            let asked = Asked {
                app,
                identity,
                destination,
                frame,
                trace_id,
                now,
            };
            asked.answer().instrument(span).await
        }
    };
    let status = match answered {
        None => "ok",
        Some(error) => {
            let code = error.code;
            app.refuse(&destination, &identity, &decoded, error).await?;
            code.as_str()
        }
    };
    metric::count(
        "chat_requests_total",
        1,
        &[("method", method), ("status", status)],
        now,
    );
    Ok(RouteAnswer::ok([]))
}

impl Asked<'_> {
    /// Answers the request; what it is refused for comes back as an error to tell.
    async fn answer(&self) -> Option<ErrorBody> {
        let answered = match &self.frame.request {
            Request::Chat(chat) => self.admit(chat).await,
            Request::Cancel { request_id } => self.cancel(request_id).await,
            Request::Resume {
                request_id,
                after_seq,
            } => self.resume(request_id, *after_seq).await,
            Request::Ping => self.pong().await,
            Request::History {
                session_id,
                before,
                limit,
            } => self.history(session_id, *before, *limit).await,
            Request::Sessions(request) => self.sessions(request).await,
            Request::Models => self.models().await,
            Request::Auth { token } => self.renew(token).await,
        };
        answered.unwrap_or_else(|failure| {
            warn!(error = causes(&failure), "request failed");
            Some(notice::error(failure.code(), self.language()))
        })
    }

    fn language(&self) -> Language {
        language(self.frame)
    }

    async fn post(&self, frame: &ServerFrame) -> Result<Posted, Failure> {
        let text = frame::encode(frame, self.destination.format);
        self.app.post(self.destination, text).await
    }
}

impl App {
    /// Who sent a frame, where its answer goes and in which format, and whether it came too fast.
    async fn who_speaks(
        &self,
        event: &SocketEvent,
        decoded: &Decoded,
        now: Timestamp,
    ) -> Result<(Identity, Destination, Rate), Failure> {
        let connection_id = event.connection_id().map_err(Failure::fatal)?;
        let connected_as = event.identity().map_err(Failure::fatal)?;
        let (known, rate) = tokio::join!(
            self.connections.find(&connection_id, now),
            self.rates.take(&connected_as.user_id, now),
        );
        // A connection that is not known (any more) is judged by what the authorizer said of it.
        let known = known?.unwrap_or(Connection {
            identity: connected_as,
            codec: None,
            encoding: Encoding::Plain,
        });
        // The codec is that of the last frame; a client that once sent a deflated payload takes them.
        let (codec, encoding) = match decoded {
            Ok((format, _)) => (Some(format.codec), known.encoding.max(format.encoding)),
            Err(error) => (error.codec, known.encoding),
        };
        let speaks = |codec: Option<Codec>, encoding| Format {
            codec: codec.unwrap_or_default(),
            encoding,
        };
        let format = speaks(codec.or(known.codec), encoding);
        if format != speaks(known.codec, known.encoding) {
            self.connections.note_format(&connection_id, format).await?;
        }
        Ok((
            known.identity,
            Destination {
                connection_id,
                format,
            },
            rate?,
        ))
    }

    /// Posts a frame; a connection that turns out to be closed is forgotten.
    async fn post(&self, destination: &Destination, text: String) -> Result<Posted, Failure> {
        let posted = self.push.post(&destination.connection_id, text).await?;
        if posted == Posted::Gone {
            self.connections.forget(&destination.connection_id).await?;
        }
        Ok(posted)
    }

    /// Tells a client that its frame is refused, and closes its socket if its token has run out.
    async fn refuse(
        &self,
        destination: &Destination,
        identity: &Identity,
        decoded: &Decoded,
        error: ErrorBody,
    ) -> Result<(), Failure> {
        let request_id = match decoded {
            Ok((_, frame)) => Some(frame.request_id.clone()),
            Err(error) => error.request_id.clone(),
        };
        let is_locked_out = error.code == ErrorCode::Unauthenticated;
        let stream = request_id
            .as_ref()
            .map(|request| StreamId::of(&identity.user_id, request));
        let frame = ServerFrame {
            stream,
            ..ServerFrame::refusal(request_id, error)
        };
        let text = frame::encode(&frame, destination.format);
        let posted = self.post(destination, text).await?;
        if posted == Posted::Delivered && is_locked_out {
            self.push.close(&destination.connection_id).await?;
        }
        Ok(())
    }
}

fn language(frame: &ClientFrame) -> Language {
    match &frame.request {
        Request::Chat(chat) => Language::of_tag(&chat.language),
        _ => Language::default(),
    }
}

fn refusal(decoded: &Decoded, code: ErrorCode) -> ErrorBody {
    let language = match decoded {
        Ok((_, frame)) => language(frame),
        Err(error) => Language::of_tag(&error.language),
    };
    notice::error(code, language)
}

fn rate_limited(decoded: &Decoded, retry_after: Duration) -> ErrorBody {
    retry_in(retry_after, refusal(decoded, ErrorCode::RateLimited))
}

fn retry_in(span: Duration, error: ErrorBody) -> ErrorBody {
    let retry_after_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
    ErrorBody {
        retry_after_ms: Some(retry_after_ms),
        ..error
    }
}

fn unreadable(error: &FrameError) -> ErrorBody {
    let notice = notice::error(error.code, Language::of_tag(&error.language));
    ErrorBody {
        field: error.field.clone(),
        ..notice
    }
}
