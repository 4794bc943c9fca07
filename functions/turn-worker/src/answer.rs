//! From the model's pieces to the learner's deltas.

use std::time::Duration;

use sparkle_aws::failure::{Failure, causes};
use sparkle_core::{
    coalesce::Coalescer,
    frame::{Body, ErrorCode, FinishReason, State, TurnJob, Usage},
    price::Model,
    unit::{MicroUsd, TokenUsage},
};
use sparkle_llm::{FinishReason as ModelReason, LlmError, Piece, Prompt, Reply};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use tracing::{info, warn};

use crate::{App, stream::Stream};

/// How often a running turn looks whether it is to stop.
const CANCEL_POLL: Duration = Duration::from_millis(200);
/// Longest silence on a stream: less than the 5 s after which a client may think it dead (R-CONN-6).
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// Longest answer: a minute less than the function may run (`Timeout` in template.yaml).
const ANSWER_TIME_MAX: Duration = Duration::from_mins(14);

/// Most bytes of an answer: an item takes 400 KB and a post 128 KiB, and JSON may double a text.
/// Models stop long before, at `answer_tokens_max`.
const ANSWER_BYTES_MAX: usize = 56 * 1024;

/// What the model produced.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) usage: Usage,
    pub(crate) end: End,
}

/// How an answer ended.
pub(crate) enum End {
    Finished {
        reason: FinishReason,
        response_id: String,
    },
    Failed {
        code: ErrorCode,
        retry_after_ms: Option<u64>,
    },
}

impl Answer {
    /// Of a turn that was stopped before its model was asked.
    pub(crate) fn none() -> Self {
        let (tokens, cost) = (TokenUsage::default(), MicroUsd::default());
        let usage = Usage {
            tokens,
            estimated: false,
            cost,
        };
        Self {
            text: String::new(),
            usage,
            end: End::cancelled(),
        }
    }

    /// The same, but it cannot be kept.
    pub(crate) fn lost(self) -> Self {
        let end = End::Failed {
            code: ErrorCode::Internal,
            retry_after_ms: None,
        };
        Self { end, ..self }
    }
}

impl End {
    /// The word in metrics.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Finished { reason, .. } => reason.as_str(),
            Self::Failed { code, .. } => code.as_str(),
        }
    }

    fn cancelled() -> Self {
        Self::Finished {
            reason: FinishReason::Cancelled,
            response_id: String::new(),
        }
    }

    fn of(error: &LlmError) -> Self {
        let code = match error {
            LlmError::Timeout { .. } => ErrorCode::Timeout,
            LlmError::Blocked { .. } => ErrorCode::ContentBlocked,
            LlmError::TooLong { .. } => ErrorCode::TooLarge,
            _ => ErrorCode::ProviderError,
        };
        let retry_after_ms = match error {
            LlmError::RateLimited {
                retry_after: Some(wait),
                ..
            } => u64::try_from(wait.as_millis()).ok(),
            _ => None,
        };
        Self::Failed {
            code,
            retry_after_ms,
        }
    }
}

/// Writes one answer to one stream.
pub(crate) struct Writer<'a, 'b> {
    app: &'a App,
    turn: &'a TurnJob,
    stream: &'b mut Stream<'a>,
    text: String,
    coalescer: Coalescer,
    sent_at: Instant,
    opening: Opening,
}

/// What the first delta must say besides its text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// That an earlier attempt's text is to be discarded.
    Restart,
    /// Nothing.
    Plain,
}

/// What happens next while an answer is being written.
enum Event {
    Piece(Option<Result<Piece, LlmError>>),
    Due,
    Silent,
    Poll,
    OutOfTime,
}

impl<'a, 'b> Writer<'a, 'b> {
    pub(crate) fn new(app: &'a App, turn: &'a TurnJob, stream: &'b mut Stream<'a>) -> Self {
        let opening = if stream.is_begun() {
            Opening::Restart
        } else {
            Opening::Plain
        };
        let (text, coalescer, sent_at) = (String::new(), Coalescer::default(), Instant::now());
        Self {
            app,
            turn,
            stream,
            text,
            coalescer,
            sent_at,
            opening,
        }
    }

    /// Has the model answer and streams what it says, until it is done, fails or is to stop.
    pub(crate) async fn write(mut self, prompt: &Prompt, model: &Model) -> Result<Answer, Failure> {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        // Not at once: the start of the turn has just said whether it is to stop.
        let mut polls = interval_at(Instant::now() + CANCEL_POLL, CANCEL_POLL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (counted, end) = match self.ask(prompt, &mut polls, deadline).await? {
            Asked::Ended(end) => (None, end),
            Asked::Answering(reply) => self.stream_reply(reply, &mut polls, deadline).await?,
        };
        while let Some(rest) = self.coalescer.take() {
            self.send(rest).await?;
        }
        let prompt_bytes = prompt
            .messages
            .iter()
            .map(|message| message.text.len())
            .sum();
        let bound = TokenUsage::bound(prompt_bytes, prompt.messages.len(), self.text.len());
        let tokens = counted.unwrap_or(bound);
        let usage = Usage {
            tokens,
            estimated: counted.is_none(),
            cost: model.cost(tokens),
        };
        Ok(Answer {
            text: self.text,
            usage,
            end,
        })
    }

    /// Waits for the model to begin, with signs of life to the client.
    async fn ask(
        &mut self,
        prompt: &Prompt,
        polls: &mut Interval,
        deadline: Instant,
    ) -> Result<Asked, Failure> {
        let app = self.app;
        let mut begins = std::pin::pin!(app.llm.stream(prompt));
        loop {
            let silent_at = self.sent_at + SILENCE_MAX;
            tokio::select! {
                biased;
                begun = &mut begins => return Ok(match begun {
                    Ok(reply) => Asked::Answering(Box::new(reply)),
                    Err(error) => Asked::Ended(failed(&error)),
                }),
                _ = polls.tick() => if self.is_stopped().await {
                    return Ok(Asked::Ended(End::cancelled()));
                },
                () = sleep_until(silent_at) => self.signal(State::Thinking).await?,
                () = sleep_until(deadline) => return Ok(Asked::Ended(out_of_time())),
            }
        }
    }

    async fn stream_reply(
        &mut self,
        mut reply: Box<Reply>,
        polls: &mut Interval,
        deadline: Instant,
    ) -> Result<(Option<TokenUsage>, End), Failure> {
        loop {
            let now = Instant::now();
            let due_at = self.coalescer.wait().map(|wait| self.sent_at + wait);
            let event = tokio::select! {
                biased;
                () = sleep_until(due_at.unwrap_or(now)), if due_at.is_some() => Event::Due,
                _ = polls.tick() => Event::Poll,
                piece = reply.next() => Event::Piece(piece),
                () = sleep_until(self.sent_at + SILENCE_MAX) => Event::Silent,
                () = sleep_until(deadline) => Event::OutOfTime,
            };
            match event {
                Event::Due => {
                    if let Some(text) = self.coalescer.take() {
                        self.send(text).await?;
                    }
                }
                Event::Poll => {
                    if self.is_stopped().await {
                        return Ok((reply.usage_so_far(), End::cancelled()));
                    }
                }
                Event::Piece(Some(Ok(Piece::Text(text)))) => {
                    let room = ANSWER_BYTES_MAX.saturating_sub(self.text.len());
                    let text = text
                        .get(..text.floor_char_boundary(room))
                        .unwrap_or_default();
                    self.text.push_str(text);
                    self.coalescer.push(text);
                    if self.text.len() + char::MAX.len_utf8() > ANSWER_BYTES_MAX {
                        let (reason, response_id) = (FinishReason::Length, String::new());
                        return Ok((
                            reply.usage_so_far(),
                            End::Finished {
                                reason,
                                response_id,
                            },
                        ));
                    }
                }
                Event::Piece(Some(Ok(Piece::ToolCall(_)))) => {
                    warn!("the model called a tool that it was not given");
                }
                Event::Piece(Some(Ok(Piece::Finish {
                    reason,
                    usage,
                    response_id,
                }))) => {
                    let response_id = response_id.unwrap_or_default();
                    let end = End::Finished {
                        reason: finish_reason(reason),
                        response_id,
                    };
                    return Ok((usage, end));
                }
                Event::Piece(Some(Err(error))) => {
                    return Ok((reply.usage_so_far(), failed(&error)));
                }
                Event::Piece(None) => return Ok((None, failed(&LlmError::Cut { source: None }))),
                Event::Silent => self.signal(State::Generating).await?,
                Event::OutOfTime => return Ok((reply.usage_so_far(), out_of_time())),
            }
        }
    }

    /// Whether the learner wants it to stop. Not knowing for once is no reason to give up an answer.
    async fn is_stopped(&self) -> bool {
        match self.app.turns.is_cancelled(self.turn).await {
            Ok(is_cancelled) => is_cancelled,
            Err(error) => {
                warn!(
                    error = causes(&error),
                    "cannot see whether the turn is to stop"
                );
                false
            }
        }
    }

    async fn send(&mut self, text: String) -> Result<(), Failure> {
        let restart = self.opening == Opening::Restart;
        self.opening = Opening::Plain;
        self.sent_at = Instant::now();
        self.stream.send(Body::Delta { text, restart }).await
    }

    async fn signal(&mut self, state: State) -> Result<(), Failure> {
        self.sent_at = Instant::now();
        self.stream.send(Body::Status { state }).await
    }
}

enum Asked {
    Answering(Box<Reply>),
    Ended(End),
}

fn failed(error: &LlmError) -> End {
    warn!(
        kind = error.kind(),
        error = causes(error),
        "the model failed"
    );
    End::of(error)
}

fn out_of_time() -> End {
    info!("the answer took too long");
    End::Failed {
        code: ErrorCode::Timeout,
        retry_after_ms: None,
    }
}

fn finish_reason(reason: ModelReason) -> FinishReason {
    match reason {
        ModelReason::Stop | ModelReason::ToolCalls => FinishReason::Stop,
        ModelReason::Length => FinishReason::Length,
        ModelReason::ContentFilter => FinishReason::Blocked,
    }
}
