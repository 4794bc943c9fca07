//! Which model writes summaries, as the environment says, and the call of it.

use std::time::Duration;

use sparkle_aws::{
    boot::{Aws, BootError},
    config::{self, ConfigError},
    failure::{Failure, causes},
    meter::{Admitted, Plan, Usage},
    table::{TableError, summaries::Run},
    trust,
};
use sparkle_core::{
    id::CallGroup,
    ledger::Purpose,
    price::Model,
    quota::Wish,
    summary::{self, SummaryJob},
    unit::{Timestamp, TokenUsage},
};
use sparkle_llm::{
    ApiKey, Counter, Heard, Llm, LlmError, Message, Phase, Prompt, Scripting, Settings, Timeouts,
    TraceParent,
};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{App, Clock};

/// Longest call: shorter than what is held for it lasts without being renewed.
const CALL_TIME_MAX: Duration = Duration::from_secs(40);
/// Longest summary unless `SPARKLE_SUMMARY_TOKENS_MAX` says otherwise.
const TOKENS_MAX: u32 = 512;
/// Most bytes that a summary is made of: as many tokens are held in the learner's account while the model is
/// asked, and what is held the learner cannot use.
const MATERIAL_BYTES_MAX: usize = 16 * 1024;

/// The model that `SPARKLE_SUMMARY_BASE_URL` names, else the one that answers learners. A key goes only to
/// the endpoint that it was set for. Cost: fetches the key from Secrets Manager where one is named, once for
/// a cold start.
///
/// # Errors
/// Whatever is wrong with the settings, by name.
pub async fn open(aws: &Aws) -> Result<Llm, BootError> {
    let own = config::optional("SPARKLE_SUMMARY_BASE_URL");
    let (value, name) = match own {
        Some(_) => (
            "SPARKLE_SUMMARY_API_KEY",
            "SPARKLE_SUMMARY_API_KEY_SECRET_NAME",
        ),
        None => ("SPARKLE_LLM_API_KEY", "SPARKLE_LLM_API_KEY_SECRET_NAME"),
    };
    let base_url = own.or_else(|| config::optional("SPARKLE_LLM_BASE_URL"));
    let key = match base_url {
        Some(_) => aws.secret(value, name).await?,
        None => None,
    };
    let default = Timeouts::default();
    let silence = config::positive_or_unset("SPARKLE_LLM_TIMEOUT_SECONDS")?;
    let silence = silence.map(|seconds| Duration::from_secs(seconds.into()));
    let scripting = match config::optional("SPARKLE_LLM_SCRIPTED").as_deref() {
        Some("1") => Scripting::Obeyed,
        _ => Scripting::Ignored,
    };
    Ok(Llm::from_settings(&Settings {
        base_url,
        api_key: key.as_deref().and_then(ApiKey::new),
        timeouts: Timeouts {
            first_byte: silence.unwrap_or(default.first_byte),
            idle: silence.unwrap_or(default.idle),
            ..default
        },
        scripting,
        roots: trust::given_roots()?,
        tokenizer: None,
    })?)
}

/// The longest summary, in tokens.
///
/// # Errors
/// [`ConfigError::NotANumber`].
pub fn tokens_max() -> Result<u32, ConfigError> {
    Ok(config::positive_or_unset("SPARKLE_SUMMARY_TOKENS_MAX")?.unwrap_or(TOKENS_MAX))
}

/// What came of a call.
pub(crate) enum Asked {
    /// The notes, and their length in tokens.
    Said(String, u32),
    /// The model had nothing to say.
    Nothing,
    /// The model failed.
    Failed(Failed),
    /// The learner's account has no room for it.
    Denied,
}

/// A call that came to nothing.
pub(crate) struct Failed {
    pub(crate) error: LlmError,
    /// Whether it cost nothing for certain.
    pub(crate) is_free: bool,
}

impl App {
    /// The most bytes that a summary may be made of, so that the prompt fits the model whatever it counts.
    pub(crate) fn material_bytes_max(&self, model: &Model) -> usize {
        let answer = self.answer_tokens_max(model);
        let instructions = Counter::bound(&prompt(model, "", answer, None));
        let room = model.context_tokens.saturating_sub(answer);
        let room = usize::try_from(room.saturating_sub(instructions)).unwrap_or(usize::MAX);
        room.min(MATERIAL_BYTES_MAX)
    }

    /// Has the model write a summary of the material, if that may be paid for: the one place where this
    /// function spends money. Cost: what admission and settlement cost (`sparkle_aws::meter`), and the call.
    pub(crate) async fn ask_model(
        &self,
        model: &Model,
        job: &SummaryJob,
        (run, earlier): (&Run, TokenUsage),
        material: &str,
        clock: Clock,
    ) -> Result<Asked, Failure> {
        let answer_tokens_max = self.answer_tokens_max(model);
        let trace_parent = TraceParent::new(job.trace_id.as_str(), u64::from(run.number));
        let wish = prompt(model, material, answer_tokens_max, trace_parent.clone());
        let plan = Plan {
            id: CallGroup::of_summary(&job.session_id, &job.id).call_of(run.runner(), run.number),
            user_id: &job.user_id,
            tier: job.tier,
            session_id: &job.session_id,
            request_id: &job.id,
            trace_id: &job.trace_id,
            purpose: Purpose::Summary,
            destination: None,
            wish: Wish {
                model,
                prompt_tokens: Counter::bound(&wish),
                answer_tokens_max,
            },
            earlier,
            right: self.summaries.right(run)?,
        };
        let purse = match Box::pin(self.meter.admit(&plan, clock.now())).await? {
            Admitted::Granted(purse) => purse,
            Admitted::Denied(..) => return Ok(Asked::Denied),
            Admitted::CalledOff => return Err(Failure::retry(CalledOff)),
        };
        let prompt = prompt(model, material, purse.answer_tokens_max(), trace_parent);
        let mut heard = Heard::default();
        let listening = heard.listen(&self.llm, &prompt);
        let end = timeout(CALL_TIME_MAX, listening).await;
        let end = end.unwrap_or(Err(LlmError::Timeout { phase: Phase::Idle }));
        let usage = Usage {
            tokens: heard.consumed(&prompt),
            estimated: heard.counted.is_none(),
        };
        let bill = purse.bill(usage, model, clock.now());
        if let Err(error) = self.meter.settle(*purse, &bill, clock.now()).await {
            warn!(error = causes(&error), "a call is left to the sweeper");
        }
        let (prompt_tokens, tokens) = (usage.tokens.prompt_tokens, usage.tokens.completion_tokens);
        info!(prompt_tokens, tokens, "the model was asked");
        // A long one was cut: what is there was noted.
        Ok(match end {
            Ok(()) if heard.text.trim().is_empty() => Asked::Nothing,
            Ok(()) => Asked::Said(heard.text, tokens),
            Err(error) => Asked::Failed(Failed {
                error,
                is_free: heard.counted == Some(TokenUsage::default()),
            }),
        })
    }

    /// The model that writes summaries, at the prices of this moment. Cost: see `Meter::catalogue`.
    pub(crate) async fn model(&self, now: Timestamp) -> Result<Model, TableError> {
        let catalogue = self.meter.catalogue(now).await?;
        Ok(match &self.model {
            Some(id) => catalogue.any(id).at(now),
            None => catalogue.cheapest(self.usual(), now),
        })
    }

    /// What an order consumes, about.
    fn usual(&self) -> TokenUsage {
        TokenUsage {
            prompt_tokens: TOKENS_MAX * 4,
            completion_tokens: self.tokens_max,
            ..TokenUsage::default()
        }
    }

    fn answer_tokens_max(&self, model: &Model) -> u32 {
        self.tokens_max.min(model.answer_tokens_max)
    }
}

fn prompt(
    model: &Model,
    material: &str,
    tokens_max: u32,
    trace_parent: Option<TraceParent>,
) -> Prompt {
    let instructions = Message::system(summary::instructions(tokens_max));
    let messages = vec![instructions, Message::user(material)];
    Prompt {
        trace_parent,
        ..Prompt::new(&model.id, messages, tokens_max)
    }
}

/// Another run has taken over the order.
#[derive(Debug, thiserror::Error)]
#[error("the call was called off")]
struct CalledOff;
