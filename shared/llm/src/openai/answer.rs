//! The bytes of an answer, in time.
//!
//! Hides the response and its deadlines. Everything that decides (`Wire`) is free of I/O.

use std::time::Duration;

use reqwest::Response;
use tokio::time::{Instant, timeout, timeout_at};

use super::assembly::Assembly;
use super::sse::Decoder;
use crate::error::{LlmError, Phase};
use crate::reply::{Piece, Served};

/// Limit of one whole answer on the wire, keep-alives included: 100 times the longest sensible one.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long the report of the cost is waited for once the answer itself is complete.
const USAGE_WAIT: Duration = Duration::from_secs(3);

/// An answer whose head has come.
#[derive(Debug)]
pub struct Answer {
    /// `None` once nothing more is to be read: the connection is free or closed.
    response: Option<Response>,
    wire: Wire,
    /// How long the next event may take from when it is first asked for.
    patience: Duration,
    phase: Phase,
    /// When it runs out; `None` while nobody asks.
    deadline: Option<Instant>,
    idle: Duration,
}

impl Answer {
    pub(super) fn from_events(response: Response, first_byte: Duration, idle: Duration) -> Self {
        Self {
            response: Some(response),
            wire: Wire::default(),
            patience: first_byte,
            phase: Phase::FirstByte,
            deadline: None,
            idle,
        }
    }

    /// From a server that answers in one go although a stream was asked for.
    pub(super) async fn from_json(
        mut response: Response,
        first_byte: Duration,
    ) -> Result<Self, LlmError> {
        let mut body = Vec::new();
        let read = async {
            while let Some(chunk) = response.chunk().await.map_err(cut)? {
                body.extend_from_slice(&chunk);
                if body.len() > ANSWER_BYTES_MAX {
                    return Err(LlmError::Garbage {
                        what: "an answer without end",
                    });
                }
            }
            Ok(())
        };
        timeout(first_byte, read)
            .await
            .map_err(|_elapsed| LlmError::Timeout {
                phase: Phase::FirstByte,
            })??;
        let mut wire = Wire::default();
        let body = std::str::from_utf8(&body).map_err(|_torn| LlmError::Garbage {
            what: "text that is not UTF-8",
        })?;
        wire.assembly.take(body)?;
        if !wire.assembly.is_finished() {
            return Err(LlmError::Garbage {
                what: "JSON that is not an answer",
            });
        }
        wire.assembly.end()?;
        Ok(Self {
            response: None,
            wire,
            patience: Duration::ZERO,
            phase: Phase::Idle,
            deadline: None,
            idle: Duration::ZERO,
        })
    }

    /// The next piece. Not to be called again after an error or [`Piece::Finish`].
    pub(crate) async fn next(&mut self) -> Result<Piece, LlmError> {
        loop {
            if let Some(piece) = self.wire.assembly.ready.pop_front() {
                return Ok(piece);
            }
            // What came before an error in the same bytes has been handed out by now.
            if let Some(error) = self.wire.error.take() {
                self.response = None;
                return Err(error);
            }
            let Some(response) = &mut self.response else {
                return Err(LlmError::Cut { source: None });
            };
            let deadline = *self
                .deadline
                .get_or_insert_with(|| Instant::now() + self.patience);
            match timeout_at(deadline, response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.take(&bytes),
                Ok(Ok(None)) => {
                    self.response = None;
                    self.wire.end(None);
                }
                // The answer was complete; only the report of its cost is missing.
                Ok(Err(_)) | Err(_) if self.wire.assembly.is_finished() => {
                    self.response = None;
                    self.wire.end(None);
                }
                Ok(Err(error)) => {
                    self.response = None;
                    self.wire.end(Some(cut(error)));
                }
                Err(_elapsed) => {
                    self.response = None;
                    return Err(LlmError::Timeout { phase: self.phase });
                }
            }
        }
    }

    pub(crate) fn served(&self) -> Served {
        self.wire.assembly.served()
    }

    fn take(&mut self, bytes: &[u8]) {
        let was_finished = self.wire.assembly.is_finished();
        let events = self.wire.push(bytes);
        if self.wire.error.is_some() || self.wire.assembly.is_over() {
            // With the end of the body already here, this frees the connection for the next call.
            self.response = None;
        }
        if events > 0 {
            self.phase = Phase::Idle;
            self.patience = self.idle;
            self.deadline = None;
        }
        if self.wire.assembly.is_finished() && !was_finished {
            self.patience = self.idle.min(USAGE_WAIT);
            self.deadline = None;
        }
    }
}

fn cut(error: reqwest::Error) -> LlmError {
    LlmError::Cut {
        source: Some(Box::new(error.without_url())),
    }
}

/// From bytes to pieces.
#[derive(Debug, Default)]
struct Wire {
    sse: Decoder,
    assembly: Assembly,
    bytes: usize,
    /// What ends the answer once everything before it has been handed out.
    error: Option<LlmError>,
}

impl Wire {
    /// Returns how many events the bytes completed.
    fn push(&mut self, bytes: &[u8]) -> usize {
        let mut events = 0;
        self.bytes += bytes.len();
        let taken = if self.bytes > ANSWER_BYTES_MAX {
            Err(LlmError::Garbage {
                what: "an answer without end",
            })
        } else {
            self.sse.push(bytes, |event| {
                events += 1;
                self.assembly.take(event)
            })
        };
        if let Err(error) = taken {
            self.error = Some(error);
        }
        events
    }

    /// The bytes have ended, by `cause` if not by themselves.
    fn end(&mut self, cause: Option<LlmError>) {
        // A last event without its empty line counts if it is whole. If it is not, or if anything
        // else is missing, the answer is cut.
        let last = self.sse.finish(|event| self.assembly.take(event));
        let ended = match last {
            Err(LlmError::Garbage { .. }) | Ok(()) => self.assembly.end(),
            Err(other) => Err(other),
        };
        if let Err(error) = ended {
            self.error = Some(match (error, cause) {
                (LlmError::Cut { .. }, Some(cause)) => cause,
                (error, _) => error,
            });
        }
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
