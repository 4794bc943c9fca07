//! From the model's pieces to the learner's deltas.

use std::time::Duration;

use sparkle_aws::{
    failure::causes,
    meter::{Purse, Usage},
};
use sparkle_core::{
    cache::entry::Origin,
    coalesce::Coalescer,
    frame::{Body, ErrorBody, ErrorCode, FinishReason, State},
    ledger::Bill,
    unit::TokenUsage,
};
use sparkle_llm::{FinishReason as ModelReason, LlmError, Piece, Prompt, Reply, Served};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::{App, known::Hit, prompt::Composed, stream::Stream, turn::Stop};

/// How long a running turn does not know whether it is to stop: each frame that is recorded tells, and
/// where none is, it looks.
pub(crate) const LOOK_AFTER: Duration = Duration::from_millis(240);
/// Longest silence on a stream: less than the 5 s after which a client may think it dead (R-CONN-6), and
/// a third of a lease, which each frame renews.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(4);

/// Most bytes of an answer: an item takes 400 KB and a post 128 KiB, and JSON may double a text.
/// Models stop long before, at `answer_tokens_max`.
const ANSWER_BYTES_MAX: usize = 56 * 1024;

/// What the model produced.
pub(crate) struct Answer {
    pub(crate) text: String,
    /// By this attempt, if it asked the model.
    pub(crate) consumed: Option<Usage>,
    /// If it was there already.
    pub(crate) hit: Option<Box<Hit>>,
    /// Whether the model has answered, and neither refused nor called a tool.
    pub(crate) is_plain: bool,
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
    Refused(ErrorBody),
}

impl Answer {
    /// Of a turn that is to be stopped and was not begun by this attempt: what the learner has seen of
    /// it.
    pub(crate) fn cancelled(shown: String) -> Self {
        Self {
            text: shown,
            ..Self::without_a_call(End::cancelled())
        }
    }

    /// Of a turn that was tried too often.
    pub(crate) fn given_up() -> Self {
        Self::without_a_call(End::internal())
    }

    /// Of a turn for which nothing may be spent.
    pub(crate) fn refused(error: ErrorBody) -> Self {
        Self::without_a_call(End::Refused(error))
    }

    /// Tokens of its text, as the provider has counted them in its bill.
    pub(crate) fn counted(&self, bill: &Bill) -> Option<u32> {
        let is_whole = match &self.end {
            End::Finished { reason, .. } => *reason != FinishReason::Cancelled,
            End::Failed { .. } | End::Refused(_) => false,
        };
        let counted = match &self.hit {
            Some(hit) => hit.kept.tokens.completion_tokens,
            None => bill.call.tokens.completion_tokens,
        };
        (is_whole && !bill.call.estimated).then_some(counted)
    }

    /// That was there already.
    pub(crate) fn kept(hit: Hit) -> Self {
        let end = End::Finished {
            reason: FinishReason::Stop,
            response_id: hit.kept.response_id.clone(),
        };
        Self {
            text: hit.kept.text.clone(),
            hit: Some(Box::new(hit)),
            ..Self::without_a_call(end)
        }
    }

    /// Where it came from.
    pub(crate) fn origin(&self) -> Origin {
        self.hit.as_ref().map(|hit| hit.origin).unwrap_or_default()
    }

    fn without_a_call(end: End) -> Self {
        Self {
            text: String::new(),
            consumed: None,
            hit: None,
            is_plain: false,
            end,
        }
    }

    /// The same, but it cannot be kept.
    pub(crate) fn lost(self) -> Self {
        Self {
            end: End::internal(),
            hit: None,
            ..self
        }
    }
}

impl End {
    /// The word in metrics.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Finished { reason, .. } => reason.as_str(),
            Self::Failed { code, .. } => code.as_str(),
            Self::Refused(error) => error.code.as_str(),
        }
    }

    fn cancelled() -> Self {
        Self::Finished {
            reason: FinishReason::Cancelled,
            response_id: String::new(),
        }
    }

    fn internal() -> Self {
        Self::Failed {
            code: ErrorCode::Internal,
            retry_after_ms: None,
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
    stream: &'b mut Stream<'a>,
    text: String,
    is_plain: bool,
    /// What has come from the model.
    served: Served,
    /// What the provider has counted.
    counted: Option<TokenUsage>,
    coalescer: Coalescer,
    sent_at: Instant,
    opening: Opening,
    /// What the answer is paid from.
    purse: &'b mut Purse,
}

/// How the answer goes on from what the learner has seen of it.
#[derive(Debug, PartialEq, Eq)]
enum Opening {
    /// What an earlier attempt has shown, as far as this one says the same.
    Repeating(String),
    /// Differently: the next delta must say that the text begins anew.
    Restart,
    /// Text follows on text.
    Plain,
}

/// What happens next while an answer is being written.
enum Event {
    Piece(Option<Result<Piece, LlmError>>),
    Due,
    Silent,
    Look,
    Renew,
    OutOfTime,
}

impl<'a, 'b> Writer<'a, 'b> {
    pub(crate) fn new(app: &'a App, stream: &'b mut Stream<'a>, purse: &'b mut Purse) -> Self {
        let (shown, sent_at) = (stream.shown().to_owned(), stream.sent_at());
        let opening = if shown.is_empty() {
            Opening::Plain
        } else {
            Opening::Repeating(shown)
        };
        Self {
            app,
            stream,
            text: String::new(),
            is_plain: false,
            served: Served::default(),
            counted: None,
            coalescer: Coalescer::default(),
            sent_at,
            opening,
            purse,
        }
    }

    /// Has the model answer and streams what it says, until it is done, fails or is to stop.
    pub(crate) async fn write(
        &mut self,
        composed: &Composed,
        deadline: Instant,
    ) -> Result<Answer, Stop> {
        let end = match self.ask(&composed.prompt, deadline).await? {
            Asked::Ended(end) => end,
            Asked::Unserved(end) => {
                self.counted = Some(TokenUsage::default());
                end
            }
            Asked::Answering(mut reply) => {
                let streamed = self.stream_reply(&mut reply, deadline).await;
                self.served = reply.served();
                self.counted = self.served.bill();
                streamed?
            }
        };
        let consumed = self.consumed(composed);
        self.close_opening(&end);
        if self.opening == Opening::Restart && self.coalescer.is_empty() {
            self.send(String::new()).await?;
        }
        while let Some(rest) = self.coalescer.take() {
            self.send(rest).await?;
        }
        Ok(Answer {
            text: std::mem::take(&mut self.text),
            consumed: Some(consumed),
            hit: None,
            is_plain: self.is_plain,
            end,
        })
    }

    /// What the call has consumed so far.
    pub(crate) fn consumed(&self, composed: &Composed) -> Usage {
        let estimate = || composed.consumed(&self.text, &self.served);
        Usage {
            tokens: self.counted.unwrap_or_else(estimate),
            estimated: self.counted.is_none(),
        }
    }

    /// Waits for the model to begin, with signs of life to the client.
    async fn ask(&mut self, prompt: &Prompt, deadline: Instant) -> Result<Asked, Stop> {
        let app = self.app;
        let mut begins = std::pin::pin!(app.llm.stream(prompt));
        loop {
            let silent_at = self.sent_at + SILENCE_MAX;
            tokio::select! {
                biased;
                begun = &mut begins => return Ok(match begun {
                    Ok(reply) => Asked::Answering(Box::new(reply)),
                    Err(error) if error.is_unserved() => Asked::Unserved(failed(&error)),
                    Err(error) => Asked::Ended(failed(&error)),
                }),
                () = sleep_until(self.stream.looked_at() + LOOK_AFTER) => self.stream.look().await?,
                () = sleep_until(self.renew_at()) => self.renew().await,
                () = sleep_until(silent_at) => self.signal(State::Thinking).await?,
                () = sleep_until(deadline) => return Ok(Asked::Ended(out_of_time())),
            }
            if self.stream.is_cancelled() {
                return Ok(Asked::Ended(End::cancelled()));
            }
        }
    }

    async fn stream_reply(&mut self, reply: &mut Reply, deadline: Instant) -> Result<End, Stop> {
        loop {
            if self.stream.is_cancelled() {
                return Ok(End::cancelled());
            }
            let now = Instant::now();
            let due_at = self.coalescer.wait().map(|wait| self.sent_at + wait);
            let event = tokio::select! {
                biased;
                () = sleep_until(due_at.unwrap_or(now)), if due_at.is_some() => Event::Due,
                () = sleep_until(self.stream.looked_at() + LOOK_AFTER) => Event::Look,
                () = sleep_until(self.renew_at()) => Event::Renew,
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
                Event::Look => self.stream.look().await?,
                Event::Renew => self.renew().await,
                Event::Piece(Some(Ok(Piece::Text(text)))) => {
                    if self.text.is_empty() {
                        let start = self.stream.opened_at().elapsed();
                        self.app.cache.starts().note(start);
                    }
                    let room = ANSWER_BYTES_MAX.saturating_sub(self.text.len());
                    let text = text
                        .get(..text.floor_char_boundary(room))
                        .unwrap_or_default();
                    self.push(text);
                    if self.text.len() + char::MAX.len_utf8() > ANSWER_BYTES_MAX {
                        let (reason, response_id) = (FinishReason::Length, String::new());
                        return Ok(End::Finished {
                            reason,
                            response_id,
                        });
                    }
                }
                Event::Piece(Some(Ok(Piece::ToolCall(_)))) => {
                    warn!("the model called a tool that it was not given");
                }
                Event::Piece(Some(Ok(Piece::Finish {
                    reason,
                    response_id,
                    ..
                }))) => {
                    self.is_plain = reason == ModelReason::Stop;
                    return Ok(End::Finished {
                        reason: finish_reason(reason),
                        response_id: response_id.unwrap_or_default(),
                    });
                }
                Event::Piece(Some(Err(error))) => return Ok(failed(&error)),
                Event::Piece(None) => return Ok(failed(&LlmError::Cut { source: None })),
                Event::Silent => self.signal(State::Generating).await?,
                Event::OutOfTime => return Ok(out_of_time()),
            }
        }
    }

    /// Takes a piece of the answer. What an earlier attempt has shown already is not shown again.
    fn push(&mut self, piece: &str) {
        self.text.push_str(piece);
        let Opening::Repeating(shown) = &self.opening else {
            return self.coalescer.push(piece);
        };
        if let Some(more) = self.text.strip_prefix(shown.as_str()) {
            self.coalescer.push(more);
            self.opening = Opening::Plain;
        } else if !shown.starts_with(&self.text) {
            self.coalescer.push(&self.text);
            self.opening = Opening::Restart;
        }
    }

    /// The answer is at its end, and an earlier attempt has shown more of it.
    fn close_opening(&mut self, end: &End) {
        let opening = std::mem::replace(&mut self.opening, Opening::Plain);
        self.opening = match (opening, end) {
            // What was shown was generated, and stays.
            (Opening::Repeating(shown), End::Finished { reason, .. })
                if *reason == FinishReason::Cancelled =>
            {
                self.text = shown;
                Opening::Plain
            }
            (Opening::Repeating(_), End::Finished { .. }) => {
                self.coalescer.push(&self.text);
                Opening::Restart
            }
            (Opening::Repeating(_), End::Failed { .. } | End::Refused(_)) => Opening::Plain,
            (opening, _) => opening,
        };
    }

    async fn send(&mut self, text: String) -> Result<(), Stop> {
        let restart = self.opening == Opening::Restart;
        if restart {
            self.opening = Opening::Plain;
        }
        self.say(Body::Delta { text, restart }).await
    }

    async fn signal(&mut self, state: State) -> Result<(), Stop> {
        self.say(Body::Status { state }).await
    }

    async fn say(&mut self, body: Body) -> Result<(), Stop> {
        self.sent_at = Instant::now();
        self.stream.send(body).await
    }

    fn renew_at(&self) -> Instant {
        self.stream.clock().instant(self.purse.renew_at())
    }

    async fn renew(&mut self) {
        let now = self.stream.clock().now();
        self.app.meter.renew(self.purse, now).await;
    }
}

enum Asked {
    Answering(Box<Reply>),
    Ended(End),
    /// The provider refused, and counts nothing.
    Unserved(End),
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
        ModelReason::Stop | ModelReason::ToolCalls | ModelReason::Refused => FinishReason::Stop,
        ModelReason::Length => FinishReason::Length,
        ModelReason::ContentFilter => FinishReason::Blocked,
    }
}
