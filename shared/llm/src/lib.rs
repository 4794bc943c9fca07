//! Language models behind one face: a [`Prompt`] goes in, a stream of [`Piece`]s comes out.
//!
//! Hides HTTP, TLS, server-sent events, the dialects of OpenAI-compatible servers, their errors
//! and their silence: nothing here waits for longer than its [`Timeouts`] say. It never retries and
//! keeps no state between calls; when to try again is the caller's decision, helped by
//! [`LlmError::is_retryable`].
//!
//! In reading order: [`prompt`] is what is asked, [`tokens`] how long that is, [`reply`] what comes back,
//! piece by piece, [`heard`] the same as a whole, [`error`] what can go wrong, [`openai`] and [`offline`] the two models.

pub mod error;
pub mod heard;
pub mod offline;
pub mod openai;
pub mod prompt;
pub mod reply;
pub mod tokens;

use std::time::Duration;

use tracing::Instrument;

pub use error::{LlmError, Phase, ProviderText, SettingsError};
pub use heard::Heard;
pub use openai::ApiKey;
pub use prompt::{Message, Prompt, Role, Tool, ToolCall, TraceParent};
pub use reply::{FinishReason, Piece, Reply, Served};
pub use sparkle_core::unit::TokenUsage;
pub use tokens::{Correction, Counter, Family};

/// A language model.
#[derive(Debug)]
pub enum Llm {
    /// Any server with an OpenAI-compatible `/chat/completions`.
    OpenAi(openai::Client),
    /// The built-in tutor: no network, no key, the same answer every time.
    Offline(offline::Tutor),
}

/// What decides which model answers.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `SPARKLE_LLM_BASE_URL`, such as `https://api.openai.com/v1`; `None` or blank: the offline
    /// model.
    pub base_url: Option<String>,
    /// `SPARKLE_LLM_API_KEY`, sent as a bearer token; `None` or blank: no `Authorization` header.
    pub api_key: Option<ApiKey>,
    /// How long to wait for the provider.
    pub timeouts: Timeouts,
    /// Whether the offline model obeys scripts in messages.
    pub scripting: Scripting,
    /// Who may vouch for a provider's certificate; `None`: Mozilla's roots, compiled in and parsed
    /// already, since to read the machine's own would be most of a cold start.
    pub roots: Option<rustls::RootCertStore>,
    /// The tokenizer of an endpoint's models, where the operator knows it and we do not.
    pub tokenizer: Option<Family>,
}

/// Whether the offline model obeys an [`offline::Script`] in the newest user message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scripting {
    /// A script is a message like any other.
    #[default]
    Ignored,
    /// A script is carried out. For tests: it lets a learner decide what an answer costs.
    Obeyed,
}

/// How long to wait for a provider before giving up with [`LlmError::Timeout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name lookup, TCP and TLS, where no connection is at hand.
    pub connect: Duration,
    /// From the call to the first event of the answer, the connection included. Keep-alive comments
    /// do not count.
    pub first_byte: Duration,
    /// Between two events of the answer. Keep-alive comments do not count, and neither does the
    /// time in which nobody asks for the next piece.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(30),
        }
    }
}

impl Llm {
    /// The model that the settings name. Opens no connection.
    ///
    /// # Errors
    /// A base URL that cannot be one, a key that cannot be sent, no usable TLS.
    pub fn from_settings(settings: &Settings) -> Result<Self, SettingsError> {
        let base_url = settings.base_url.as_deref().map_or("", str::trim);
        if base_url.is_empty() {
            return Ok(Self::Offline(match settings.scripting {
                Scripting::Ignored => offline::Tutor::new(),
                Scripting::Obeyed => offline::Tutor::scripted(),
            }));
        }
        let client = openai::Client::new(
            base_url,
            settings.api_key.as_ref(),
            settings.timeouts,
            settings.roots.clone(),
        )?;
        Ok(Self::OpenAi(client.counting_by(settings.tokenizer)))
    }

    /// How the tokens of a model's prompts are counted: exactly only where both the endpoint and the model
    /// are known, since others serve other models under the same names.
    pub fn counter(&self, model: &str) -> Counter {
        match self {
            Self::OpenAi(client) => client.counter(model),
            Self::Offline(_) => Counter::Bytes,
        }
    }

    /// Asks the model. Returns as soon as it has begun to answer; dropping the future or the
    /// [`Reply`] aborts the call at the provider. One HTTP call, never repeated.
    ///
    /// # Errors
    /// Whatever the provider says instead of an answer, and what keeps it from saying anything.
    pub async fn stream(&self, prompt: &Prompt) -> Result<Reply, LlmError> {
        let span = self.span(prompt);
        let begun = match self {
            Self::OpenAi(client) => client
                .stream(prompt)
                .instrument(span.clone())
                .await
                .map(Reply::from_openai),
            Self::Offline(tutor) => tutor
                .stream(prompt)
                .instrument(span.clone())
                .await
                .map(Reply::from_offline),
        };
        match begun {
            Ok(reply) => Ok(reply.traced_by(span)),
            Err(error) => {
                span.record("error.type", error.kind());
                Err(error)
            }
        }
    }

    /// A client span with the names of the OpenTelemetry semantic conventions for generative AI
    /// (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>), which ask for
    /// `openai` wherever that API is spoken and for the server's address to tell hosts apart.
    fn span(&self, prompt: &Prompt) -> tracing::Span {
        let (provider, host) = match self {
            Self::OpenAi(client) => ("openai", client.host()),
            Self::Offline(_) => ("sparkle.offline", "localhost"),
        };
        tracing::info_span!(
            "chat",
            "otel.name" = format!("chat {}", prompt.model),
            "otel.kind" = "client",
            "server.address" = host,
            "gen_ai.operation.name" = "chat",
            "gen_ai.provider.name" = provider,
            "gen_ai.request.model" = prompt.model,
            "gen_ai.request.max_tokens" = prompt.answer_tokens_max,
            "gen_ai.response.id" = tracing::field::Empty,
            "gen_ai.response.finish_reasons" = tracing::field::Empty,
            "gen_ai.usage.input_tokens" = tracing::field::Empty,
            "gen_ai.usage.output_tokens" = tracing::field::Empty,
            "gen_ai.usage.cache_read.input_tokens" = tracing::field::Empty,
            "error.type" = tracing::field::Empty,
        )
    }
}
