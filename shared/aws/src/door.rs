//! What every route of the socket does with a frame, whatever it asks: read it, find out who speaks, refuse
//! what is too fast, too late or unreadable, and answer in the format that its client speaks.
//!
//! Whatever is wrong with a frame, its client gets one `error` frame and goes on.

use sparkle_core::{
    frame::{
        Body, ClientFrame, Codec, Destination, Encoding, ErrorBody, ErrorCode, Format, Request,
        ServerFrame,
    },
    id::{StreamId, TraceId},
    notice::{self, Language},
    profile::Stamp,
    unit::Timestamp,
};
use sparkle_wire::frame::{self, FrameError};
use tracing::{Instrument, info_span, warn};

use crate::{
    boot::Aws,
    config::ConfigError,
    event::{RouteAnswer, SocketEvent},
    failure::{Failure, causes},
    metric,
    push::{Posted, Push},
    table::{
        connections::{Connection, Connections},
        rates::{Rate, Rates},
    },
    token::Identity,
};

/// The door.
#[derive(Debug)]
pub struct Door {
    connections: Connections,
    rates: Rates,
    push: Push,
}

/// A frame that is to be answered.
#[derive(Debug)]
pub struct Asked<'a> {
    door: &'a Door,
    /// Who sent it.
    pub identity: &'a Identity,
    /// Where the answer goes, and in which format.
    pub destination: &'a Destination,
    /// What it asks.
    pub frame: &'a ClientFrame,
    /// Of the learner's profile at this moment.
    pub profile_stamp: Option<Stamp>,
    /// Its own, or one made for it.
    pub trace_id: TraceId,
    /// When it came.
    pub now: Timestamp,
}

/// What came with a frame: the frame, or what is wrong with it.
type Decoded = Result<(Format, ClientFrame), FrameError>;

impl Door {
    /// Opens the tables `CONNECTIONS` and `RATES` and the API that is posted to; makes no call.
    ///
    /// # Errors
    /// [`ConfigError`] names what is missing.
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            connections: Connections::open(aws)?,
            rates: Rates::open(aws)?,
            push: Push::open(aws)?,
        })
    }

    /// Has a frame answered that may be. `answer` posts what is asked for, or returns what the client is
    /// refused for.
    ///
    /// # Errors
    /// [`Failure`] only if nothing could be said to the client; API Gateway then tells it so itself.
    /// Cost: two calls at once to know who speaks, one post for a refusal, and what `answer` takes.
    pub async fn answer(
        &self,
        event: &SocketEvent,
        now: Timestamp,
        answer: impl AsyncFnOnce(&Asked<'_>) -> Result<Option<ErrorBody>, Failure>,
    ) -> Result<RouteAnswer, Failure> {
        let decoded = frame::decode(event.body.as_deref().unwrap_or_default());
        let method = decoded
            .as_ref()
            .map_or("unreadable", |(_, frame)| frame.request.name());
        let (identity, destination, rate) = self.who_speaks(event, &decoded, now).await?;

        let refused = match (&decoded, rate) {
            _ if identity.expires_at <= now => Some(refusal(&decoded, ErrorCode::Unauthenticated)),
            (_, Rate::Exceeded { retry_after }) => {
                Some(refusal(&decoded, ErrorCode::RateLimited).retry_in(retry_after))
            }
            (Err(error), Rate::Within(_)) => Some(unreadable(error)),
            (Ok((_, frame)), Rate::Within(profile_stamp)) => {
                let trace_id = frame.trace_id.clone().unwrap_or_else(|| {
                    let (user, request) = (identity.user_id.as_str(), frame.request_id.as_str());
                    TraceId::derived_from(&[user, request, &now.unix_ms().to_string()])
                });
                let span = info_span!("frame", method, trace_id = trace_id.as_str());
                let asked = Asked {
                    door: self,
                    identity: &identity,
                    destination: &destination,
                    frame,
                    profile_stamp,
                    trace_id,
                    now,
                };
                let answered = answer(&asked).instrument(span.clone()).await;
                answered.unwrap_or_else(|failure| {
                    let _entered = span.entered();
                    warn!(error = causes(&failure), "request failed");
                    Some(notice::error(failure.code(), asked.language()))
                })
            }
        };
        let status = match refused {
            None => "ok",
            Some(error) => {
                let code = error.code;
                self.refuse(&destination, &identity, &decoded, error)
                    .await?;
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

impl Asked<'_> {
    /// What a refusal is to be told in.
    pub fn language(&self) -> Language {
        language(self.frame)
    }

    /// Posts a frame to who asked. Cost: one post.
    ///
    /// # Errors
    /// [`Failure`] if it could not be posted; that the client has left is none.
    pub async fn post(&self, frame: &ServerFrame) -> Result<Posted, Failure> {
        self.post_text(frame::encode(frame, self.destination.format))
            .await
    }

    /// Posts the text of a frame to who asked. Cost: one post.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn post_text(&self, text: String) -> Result<Posted, Failure> {
        self.door.post(self.destination, text).await
    }

    /// Answers with one frame. Cost: one post.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn reply(&self, body: Body) -> Result<(), Failure> {
        let (user_id, request_id) = (&self.identity.user_id, &self.frame.request_id);
        self.post(&ServerFrame::answer(user_id, request_id, body))
            .await?;
        Ok(())
    }

    /// Lets a connection go on by a fresh token. Cost: one write.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn renew(&self, identity: &Identity) -> Result<(), Failure> {
        let connection_id = &self.destination.connection_id;
        Ok(self.door.connections.renew(connection_id, identity).await?)
    }
}

fn language(frame: &ClientFrame) -> Language {
    match &frame.request {
        Request::Chat(chat) => Language::of_tag(&chat.language),
        Request::Lookup(lookup) => Language::of_tag(&lookup.language),
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

fn unreadable(error: &FrameError) -> ErrorBody {
    let notice = notice::error(error.code, Language::of_tag(&error.language));
    ErrorBody {
        field: error.field.clone(),
        ..notice
    }
}
