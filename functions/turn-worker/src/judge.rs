//! Asking a model whether two questions ask the same, where operators have named one for it: before an answer is
//! served of which the verifier is in doubt, and after one was served, to see whether that was right.
//!
//! Its calls are paid like any other, from the learner's account. That it has no opinion never fails a turn.

use std::time::Duration;

use sparkle_aws::{
    failure::causes,
    meter::{Admitted, Plan, Purse, Usage},
    metric,
    table::{
        Right, TableError,
        answers::Outcome,
        turns::{Rated, Witness},
    },
};
use sparkle_core::{
    cache::{
        entry::{Place, Scope},
        judge::{INSTRUCTIONS, OPINION_TOKENS_MAX, Opinion, is_checked, material},
        sought::Settings,
        verdict,
    },
    frame::TurnJob,
    id::CallId,
    ledger::Purpose,
    price::Model,
    quota::Wish,
    unit::{Timestamp, TokenUsage},
};
use sparkle_llm::{Counter, Heard, LlmError, Message, Phase, Prompt, TraceParent};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{App, Clock, answer::Answer, stream::Stream, turn::Stop};

/// Longest wait for an opinion: a learner may be waiting, who hears something after 4 s.
const OPINION_TIME_MAX: Duration = Duration::from_secs(3);

/// Two questions of which it is to be said whether they ask the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    /// Whose question is answered, and who pays.
    pub(crate) job: &'a TurnJob,
    /// The one that was asked before.
    pub(crate) other: &'a str,
    /// The model that is asked.
    pub(crate) model: &'a str,
}

impl App {
    /// What a model thinks of two questions; none if it may not be paid for, fails, or says something else, or if
    /// the stream that waits for it is cancelled.
    ///
    /// Cost: what admission and settlement cost (`sparkle_aws::meter`), and the call.
    pub(crate) async fn judge(
        &self,
        pair: Pair<'_>,
        right: Right,
        stream: Option<&mut Stream<'_>>,
        clock: Clock,
    ) -> Result<Option<Opinion>, Stop> {
        let model = match self.meter.catalogue(clock.now()).await {
            Ok(catalogue) => catalogue.any(pair.model).at(clock.now()),
            Err(error) => return Ok(without(&error, clock.now())),
        };
        let prompt = prompt(&model, pair);
        let (prompt, purse) = match self.may_judge(pair, (&model, prompt), right, clock).await {
            Ok(Some(granted)) => granted,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(without(&error, clock.now())),
        };
        let mut heard = Heard::default();
        let listening = timeout(OPINION_TIME_MAX, heard.listen(&self.llm, &prompt));
        let ended = match stream {
            Some(stream) => stream.meanwhile(listening).await,
            None => Ok(Some(listening.await)),
        };
        let usage = Usage {
            tokens: heard.consumed(&prompt),
            estimated: heard.counted.is_none(),
        };
        let bill = purse.bill(usage, &model, clock.now());
        if let Err(error) = self.meter.settle(*purse, &bill, clock.now()).await {
            warn!(error = causes(&error), "a call is left to the sweeper");
        }
        let Some(ended) = ended? else {
            return Ok(None);
        };
        let ended = ended.unwrap_or(Err(LlmError::Timeout { phase: Phase::Idle }));
        Ok(match ended {
            Ok(()) => {
                let opinion = Opinion::read(&heard.text);
                count(opinion.map_or("unclear", Opinion::as_str), clock.now());
                opinion
            }
            Err(error) => without(&error, clock.now()),
        })
    }

    /// Holds what an opinion can cost.
    async fn may_judge(
        &self,
        Pair { job, .. }: Pair<'_>,
        (model, mut prompt): (&Model, Prompt),
        right: Right,
        clock: Clock,
    ) -> Result<Option<(Prompt, Box<Purse>)>, TableError> {
        let plan = Plan {
            id: CallId::judgement(&job.user_id, &job.request_id, clock.now()),
            user_id: &job.user_id,
            tier: job.tier,
            session_id: &job.session_id,
            request_id: &job.request_id,
            trace_id: &job.trace_id,
            purpose: Purpose::Agent,
            destination: None,
            wish: Wish {
                model,
                prompt_tokens: Counter::bound(&prompt),
                answer_tokens_max: prompt.answer_tokens_max,
            },
            earlier: TokenUsage::default(),
            right,
        };
        Ok(
            match Box::pin(self.meter.admit(&plan, clock.now())).await? {
                Admitted::Granted(purse) => {
                    prompt.answer_tokens_max = purse.answer_tokens_max();
                    Some((prompt, purse))
                }
                Admitted::Denied(..) | Admitted::CalledOff => {
                    info!("no opinion is paid for");
                    None
                }
            },
        )
    }

    /// Has a model say whether an answer that was served was right, and counts that as evidence, unless the learner
    /// has said so. Cost: as [`Self::judge`], and one transaction.
    pub(crate) async fn check(&self, check: &Check, clock: Clock) {
        let Check {
            job,
            other,
            model,
            place,
        } = check;
        let right = match self.turns.right_to_weigh(job) {
            Ok(right) => right,
            Err(error) => {
                without(&error, clock.now());
                return;
            }
        };
        let pair = Pair { job, other, model };
        let outcome = match Box::pin(self.judge(pair, right, None, clock)).await {
            Ok(Some(Opinion::Same)) => Outcome::Right,
            Ok(Some(Opinion::Other)) => Outcome::Wrong,
            Ok(None) | Err(_) => return,
        };
        let rated = Rated::unrated(job, place, verdict::language(&job.message));
        let (user, said) = (&job.user_id, (&rated, Witness::Model));
        let answers = self.cache.answers();
        let weighed = self.turns.weigh(answers, user, said, outcome, clock.now());
        if let Err(error) = weighed.await {
            warn!(error = causes(&error), "evidence is lost");
        }
    }
}

/// An answer that was served for other words, of which it is to be seen whether it was right.
#[derive(Debug)]
pub(crate) struct Check {
    job: Box<TurnJob>,
    other: String,
    model: String,
    place: Place,
}

impl Check {
    /// Whether and how an answer that was served is to be checked: a share of those that were served because the
    /// verifier was sure, if a model is named for it. What others wrote, whom the answer was for first, is not shown
    /// to it.
    pub(crate) fn of(answer: &Answer, job: &TurnJob, settings: &Settings) -> Option<Self> {
        let hit = answer.hit.as_ref()?;
        let (other, model) = hit.other_words.as_ref().zip(settings.judge.as_ref())?;
        let percent = settings.checked_percent;
        let is_own = hit.place.scope != Scope::Everybody;
        (is_own && is_checked(&job.user_id, &job.request_id, percent)).then(|| Self {
            job: Box::new(job.clone()),
            other: other.clone(),
            model: model.clone(),
            place: hit.place.clone(),
        })
    }
}

fn prompt(model: &Model, Pair { job, other, .. }: Pair<'_>) -> Prompt {
    let material = material(&job.message, other);
    let messages = vec![Message::system(INSTRUCTIONS), Message::user(material)];
    let span_id = u64::from(job.stream().get());
    Prompt {
        trace_parent: TraceParent::new(job.trace_id.as_str(), span_id),
        ..Prompt::new(
            &model.id,
            messages,
            OPINION_TOKENS_MAX.min(model.answer_tokens_max),
        )
    }
}

fn without(error: &(dyn std::error::Error + 'static), now: Timestamp) -> Option<Opinion> {
    warn!(error = causes(error), "there is no opinion");
    count("none", now);
    None
}

fn count(opinion: &str, now: Timestamp) {
    metric::count("cache_judged_total", 1, &[("opinion", opinion)], now);
}
