//! A reply that is wanted as a whole: listened to until its end, by who has no use for pieces.

use crate::error::{LlmError, ProviderText};
use crate::prompt::Prompt;
use crate::reply::{FinishReason, Piece, Reply, Served};
use crate::tokens::Counter;
use crate::{Llm, TokenUsage};

/// Most bytes of a text for each of its tokens: no language has longer ones on average.
const TOKEN_BYTES_MAX: usize = 8;

/// What a model has said so far, and what that costs.
#[derive(Debug, Default)]
pub struct Heard {
    /// Its text; what is longer than the prompt allows is left out.
    pub text: String,
    /// What the provider has counted, once [`Self::consumed`] was asked; `None` if it has not sent its bill.
    pub counted: Option<TokenUsage>,
    /// Kept over a wait that is given up: it knows what has come since the last piece.
    reply: Option<Reply>,
    served: Served,
}

impl Heard {
    /// Asks, and listens to the end. What came until it fails, or is dropped, stays. A text that the model was
    /// not given more room for is whole. One HTTP call, never repeated.
    ///
    /// # Errors
    /// As [`Llm::stream`]; also whatever comes in the middle, and [`LlmError::Blocked`] by the provider's filter.
    pub async fn listen(&mut self, llm: &Llm, prompt: &Prompt) -> Result<(), LlmError> {
        let reply = match llm.stream(prompt).await {
            Ok(reply) => self.reply.insert(reply),
            Err(error) => {
                self.counted = error.is_unserved().then(TokenUsage::default);
                return Err(error);
            }
        };
        let tokens_max = usize::try_from(prompt.answer_tokens_max).unwrap_or(usize::MAX);
        let bytes_max = tokens_max.saturating_mul(TOKEN_BYTES_MAX);
        loop {
            match reply.next().await {
                Some(Ok(Piece::Text(piece))) => {
                    let room = bytes_max.saturating_sub(self.text.len());
                    let end = piece.floor_char_boundary(room);
                    self.text.push_str(piece.get(..end).unwrap_or_default());
                }
                Some(Ok(Piece::ToolCall(_))) => {}
                Some(Ok(Piece::Finish { reason, .. })) => {
                    return match reason {
                        FinishReason::ContentFilter => Err(LlmError::Blocked {
                            said: ProviderText::default(),
                        }),
                        _ => Ok(()),
                    };
                }
                Some(Err(error)) => return Err(error),
                None => return Err(LlmError::Cut { source: None }),
            }
        }
    }

    /// Ends the call, if it is still under way, and says what it has consumed: as the provider has counted it, else
    /// no less than has come.
    pub fn consumed(&mut self, prompt: &Prompt) -> TokenUsage {
        if let Some(reply) = self.reply.take() {
            self.served = reply.served();
            self.counted = self.served.bill();
        }
        let bound = || Counter::bound(prompt);
        let estimate = || (self.served).estimate(bound(), &self.text, Counter::Bytes);
        self.counted.unwrap_or_else(estimate)
    }
}
