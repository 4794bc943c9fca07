//! Messages on their way to a client: waiting, cut into frames, written.

use std::future::pending;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

/// A message for a client; gives its room back when it is dropped.
#[derive(Debug)]
pub(super) struct Outgoing {
    rest: Bytes,
    /// The opcode of its next frame.
    opcode: Data,
    _room: OwnedSemaphorePermit,
}

impl Outgoing {
    pub(super) fn text(text: Bytes, room: OwnedSemaphorePermit) -> Self {
        Self {
            rest: text,
            opcode: Data::Text,
            _room: room,
        }
    }

    /// For a client that speaks binary: the bytes that `text` is the base64 of, else the text.
    pub(super) fn binary(text: Bytes, room: OwnedSemaphorePermit) -> Self {
        match STANDARD.decode(&text) {
            Ok(bytes) if !bytes.is_empty() => Self {
                rest: bytes.into(),
                opcode: Data::Binary,
                _room: room,
            },
            Ok(_) | Err(_) => Self::text(text, room),
        }
    }
}

/// Writes queued messages in fragments of at most one frame's size. May be stopped at any await
/// and resumed: what was begun is continued.
pub(super) struct Writer<Io> {
    pub(super) sink: SplitSink<WebSocketStream<Io>, Message>,
    outgoing: mpsc::Receiver<Outgoing>,
    current: Option<Outgoing>,
    frame_bytes_max: usize,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Writer<Io> {
    pub(super) fn new(
        sink: SplitSink<WebSocketStream<Io>, Message>,
        outgoing: mpsc::Receiver<Outgoing>,
        frame_bytes_max: usize,
    ) -> Self {
        Self {
            sink,
            outgoing,
            current: None,
            frame_bytes_max: frame_bytes_max.max(1),
        }
    }

    /// Writes until that fails, and calls `written` after each message.
    pub(super) async fn run(&mut self, written: impl Fn()) -> Error {
        loop {
            if self.current.is_none() {
                self.current = self.outgoing.recv().await;
            }
            if self.current.is_none() {
                // The queue ended, which it does not before the connection is dropped.
                return pending().await;
            }
            if let Err(error) = self.write_current().await {
                return error;
            }
            written();
        }
    }

    async fn write_current(&mut self) -> Result<(), Error> {
        // Answers to pings have left before a frame takes the buffer, which holds just one.
        self.sink.flush().await?;
        while let Some(message) = &mut self.current {
            let frame_bytes = message.rest.len().min(self.frame_bytes_max);
            let fragment = message.rest.slice(..frame_bytes);
            let last = frame_bytes == message.rest.len();
            let frame = Frame::message(fragment, OpCode::Data(message.opcode), last);
            self.sink.feed(Message::Frame(frame)).await?;
            // Nothing is awaited between the two: a fragment is never written twice.
            message.rest.advance(frame_bytes);
            message.opcode = Data::Continue;
            self.sink.flush().await?;
            if last {
                // Only now, so that a message counts against its room until it has left.
                self.current = None;
            }
        }
        Ok(())
    }

    /// Writes what was accepted before the end, then the close frame.
    pub(super) async fn close(&mut self, frame: CloseFrame) -> Result<(), Error> {
        self.outgoing.close();
        loop {
            self.write_current().await?;
            match self.outgoing.try_recv() {
                Ok(message) => self.current = Some(message),
                Err(_) => break,
            }
        }
        self.sink.send(Message::Close(Some(frame))).await
    }
}
