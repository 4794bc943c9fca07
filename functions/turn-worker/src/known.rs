//! What is known already: before a model is asked, whether the same was asked before, and after it, keeping what
//! it said.
//!
//! Nothing here ever fails a turn: where the table is away, the model is asked.

use std::{
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sparkle_aws::{
    boot::{Aws, BootError},
    config,
    failure::causes,
    meter::Meter,
    metric,
    table::{
        TableError,
        answers::{self, Answers, Awaited, Claimed, FLIGHT_EVERY},
    },
};
use sparkle_cache::{Doubt, Embedded, Looked, Meaning, Semantic};
use sparkle_core::{
    cache::{
        entry::{Kept, Origin, Place, asker},
        judge::Opinion,
        sought::{Settings, Sought},
    },
    frame::{Body, CachePolicy, ErrorCode, FinishReason, State, TurnJob},
    id,
    ledger::Bill,
    notice::{self, Language},
    unit::Timestamp,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::{
    Clock,
    answer::{Answer, End, LOOK_AFTER, SILENCE_MAX},
    judge::Pair,
    stream::Stream,
    turn::Stop,
};

/// How often a turn looks whether the answer that it waits for is there.
const WAIT_EVERY: Duration = Duration::from_millis(150);
/// How long a turn waits for another's answer before it asks for itself.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// The longest start that is imitated: less than the silence in which a client may think a stream dead.
const START_MAX: Duration = Duration::from_secs(3);
/// How long a fresh answer takes to begin, until this instance has seen one.
const START_DEFAULT: Duration = Duration::from_millis(700);
/// Longest question that is found by what it means, in bytes: the verifier reads no longer ones.
const MEANING_BYTES_MAX: usize = 600;
/// How many starts are remembered.
const STARTS_MAX: usize = 64;

/// Answers that were given, and how this instance uses them.
#[derive(Debug)]
pub struct Cache {
    answers: Answers,
    meter: Meter,
    semantic: Semantic,
    settings: Settings,
    starts: Starts,
}

/// What is known of a question.
pub(crate) enum Known {
    /// All: the turn has its answer.
    Answer(Box<Answer>),
    /// Nothing: the model is to be asked, perhaps for others as well.
    Nothing(Option<Flight>),
}

/// A call of a model for whose answer others may be waiting.
pub(crate) struct Flight {
    sought: Sought,
    /// The turn whose call it is: another attempt at it goes on with it.
    name: String,
    /// Of the question, if it had to be known.
    meaning: Option<Meaning>,
}

impl Flight {
    /// Where the answer is going to be kept.
    pub(crate) fn place(&self) -> &Place {
        &self.sought.place
    }

    /// Whether nothing of the learner may be in the prompt, since others may get the answer.
    pub(crate) fn is_for_all(&self) -> bool {
        self.sought.is_for_all()
    }
}

/// An answer that is to be kept.
pub(crate) struct Keeping {
    job: Box<TurnJob>,
    flight: Flight,
    kept: Option<Kept>,
}

impl Cache {
    /// Opens the table `CACHE` with the settings `SPARKLE_CACHE_*`; makes no call.
    ///
    /// # Errors
    /// Whatever is wrong with the settings, by name.
    pub async fn open(aws: &Aws) -> Result<Self, BootError> {
        Ok(Self {
            answers: Answers::open(aws)?,
            meter: Meter::open(aws)?,
            semantic: Semantic::open(aws).await?,
            settings: config::cache()?,
            starts: Starts::default(),
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn answers(&self) -> &Answers {
        &self.answers
    }

    pub(crate) fn starts(&self) -> &Starts {
        &self.starts
    }

    /// Looks for the answer to a question that may have one, and waits for it where another turn is asking the
    /// same. Cost: one write; while waiting, a read every 150 ms.
    pub(crate) async fn find(
        &self,
        job: &TurnJob,
        sought: Option<Sought>,
        stream: &mut Stream<'_>,
        deadline: Instant,
    ) -> Result<Known, Stop> {
        let clock = stream.clock();
        let sought = match (job.cache, sought) {
            (CachePolicy::Bypass, _) => return Ok(Known::Nothing(None)),
            (CachePolicy::Use, None) => {
                count("unsought", clock.now());
                return Ok(Known::Nothing(None));
            }
            (CachePolicy::Only, None) => return Ok(nothing_kept(job)),
            (CachePolicy::Only, Some(sought)) => {
                return self.find_only(job, &sought, stream).await;
            }
            (CachePolicy::Use, Some(sought)) => sought,
        };
        let name = flight_name(job);
        let mut waited_for = None;
        loop {
            let claimed = self.answers.claim(&sought.place, &name, clock.now());
            match claimed.await {
                Ok(Claimed::Known(kept)) => {
                    let hit = Hit::exact(&sought, *kept);
                    return self.serve(job, hit, stream).await;
                }
                Ok(Claimed::Flight) => {
                    let flight = Flight {
                        sought,
                        name,
                        meaning: None,
                    };
                    return self.take_off(job, flight, stream).await;
                }
                Ok(Claimed::Taken { flight }) => {
                    // One call that came to nothing may be bad luck; whoever waited for it asks for itself.
                    if waited_for.is_some_and(|other| other != flight) {
                        return self.go_alone(job, &sought, stream).await;
                    }
                    match self.wait(&sought, stream, deadline).await? {
                        Waited::Known(kept) => {
                            let hit = Hit::exact(&sought, *kept);
                            return self.serve(job, hit, stream).await;
                        }
                        Waited::ForNothing => waited_for = Some(flight),
                        Waited::Cancelled => {
                            let shown = stream.shown().to_owned();
                            return Ok(Known::Answer(Box::new(Answer::cancelled(shown))));
                        }
                        Waited::TooLong => return Ok(missed(clock.now())),
                    }
                }
                Err(error) => {
                    away(&error);
                    count("away", clock.now());
                    return Ok(Known::Nothing(None));
                }
            }
        }
    }

    /// Has the model asked for one turn alone, unless the same was answered in other words.
    async fn go_alone(
        &self,
        job: &TurnJob,
        sought: &Sought,
        stream: &mut Stream<'_>,
    ) -> Result<Known, Stop> {
        match self.find_similar(job, sought, stream).await? {
            (Some(hit), _) => self.serve(job, hit, stream).await,
            (None, _) => Ok(missed(stream.clock().now())),
        }
    }

    /// Answers with what was kept or not at all, and asks no model.
    async fn find_only(
        &self,
        job: &TurnJob,
        sought: &Sought,
        stream: &mut Stream<'_>,
    ) -> Result<Known, Stop> {
        let clock = stream.clock();
        let found = self.answers.find(&sought.place, clock.now()).await;
        let found = found.unwrap_or_else(|error| {
            away(&error);
            None
        });
        let hit = match found {
            Some(kept) => Some(Hit::exact(sought, kept)),
            None => self.find_similar(job, sought, stream).await?.0,
        };
        // What others asked is not to be found out by asking for nothing else.
        let own = hit.filter(|hit| hit.kept.asker == asker(&job.user_id));
        match own {
            Some(hit) => self.serve(job, hit, stream).await,
            None => Ok(nothing_kept(job)),
        }
    }

    /// Has the model asked for all who wait, unless the same was answered in other words.
    async fn take_off(
        &self,
        job: &TurnJob,
        flight: Flight,
        stream: &mut Stream<'_>,
    ) -> Result<Known, Stop> {
        let clock = stream.clock();
        let (hit, meaning) = self.find_similar(job, &flight.sought, stream).await?;
        let Some(hit) = hit else {
            count("miss", clock.now());
            return Ok(Known::Nothing(Some(Flight { meaning, ..flight })));
        };
        // Who asks in these words meanwhile finds the same for himself.
        let released = self.answers.release(&flight.sought.place, &flight.name);
        if let Err(error) = released.await {
            away(&error);
        }
        self.serve(job, hit, stream).await
    }

    /// Looks for an answer to other words that ask the same, by the verifier or, where that is in doubt, by a model.
    async fn find_similar(
        &self,
        job: &TurnJob,
        sought: &Sought,
        stream: &mut Stream<'_>,
    ) -> Result<(Option<Hit>, Option<Meaning>), Stop> {
        let clock = stream.clock();
        let look = self.semantic.find(sought, &job.message, clock.now());
        let Looked {
            found,
            doubt,
            meaning,
        } = look.await;
        self.pay_for(job, meaning.as_ref(), clock).await;
        let hit = match (found, doubt) {
            (Some(found), _) => Some(Hit {
                origin: Origin::Semantic(found.similarity),
                place: found.place,
                kept: found.kept,
                other_words: Some(found.question),
            }),
            // What others wrote could talk a model round.
            (None, Some(doubt)) if job.cache == CachePolicy::Use && !sought.is_for_all() => {
                self.decide(job, doubt, stream).await?
            }
            (None, _) => None,
        };
        Ok((hit, meaning))
    }

    /// Has a model say whether two questions ask the same, if operators allow it.
    async fn decide(
        &self,
        job: &TurnJob,
        doubt: Doubt,
        stream: &mut Stream<'_>,
    ) -> Result<Option<Hit>, Stop> {
        let Some(model) = self.settings.judge.as_deref() else {
            return Ok(None);
        };
        let (app, clock) = (stream.app(), stream.clock());
        let other = &*doubt.question;
        let right = app.leases.right(stream.lease())?;
        let pair = Pair { job, other, model };
        let opinion = Box::pin(app.judge(pair, right, Some(stream), clock)).await?;
        if opinion != Some(Opinion::Same) {
            return Ok(None);
        }
        let found = self.answers.find(&doubt.place, clock.now()).await;
        let kept = found.unwrap_or_else(|error| {
            away(&error);
            None
        });
        Ok(kept.map(|kept| Hit {
            origin: Origin::Semantic(doubt.similarity),
            place: doubt.place,
            kept,
            other_words: None,
        }))
    }

    /// Has the call of a provider of vectors written into the ledger, if there was one.
    async fn pay_for(&self, job: &TurnJob, meaning: Option<&Meaning>, clock: Clock) {
        let Some(embedded) = meaning.and_then(|meaning| meaning.embedded.as_ref()) else {
            return;
        };
        let Embedded {
            model,
            tokens,
            estimated,
        } = embedded;
        let noted = self
            .meter
            .note_embedding(job, model, (*tokens, *estimated), clock.now());
        if let Err(error) = noted.await {
            warn!(error = causes(&error), "a vector's bill is lost");
            metric::count("bills_lost_total", 1, &[], clock.now());
        }
    }

    /// Waits until the answer is there, or nobody is asking any more.
    async fn wait(
        &self,
        sought: &Sought,
        stream: &mut Stream<'_>,
        deadline: Instant,
    ) -> Result<Waited, Stop> {
        let patience = deadline.min(Instant::now() + WAIT_MAX);
        let mut said_at = Instant::now();
        loop {
            sleep(WAIT_EVERY).await;
            if Instant::now() >= patience {
                return Ok(Waited::TooLong);
            }
            if stream.looked_at().elapsed() >= LOOK_AFTER {
                stream.look().await?;
            }
            if stream.is_cancelled() {
                return Ok(Waited::Cancelled);
            }
            if said_at.elapsed() >= SILENCE_MAX {
                said_at = Instant::now();
                let state = State::Thinking;
                stream.send(Body::Status { state }).await?;
            }
            let now = stream.clock().now();
            match self.answers.wait(&sought.place, now).await {
                Ok(Awaited::Taken { .. }) => {}
                Ok(Awaited::Known(kept)) => return Ok(Waited::Known(kept)),
                Ok(Awaited::Nothing) => return Ok(Waited::ForNothing),
                Err(error) => {
                    away(&error);
                    return Ok(Waited::TooLong);
                }
            }
        }
    }

    /// Answers with what was kept. What another learner asked first begins no sooner than a fresh answer would:
    /// how long it takes shall not tell who asked what.
    async fn serve(&self, job: &TurnJob, hit: Hit, stream: &mut Stream<'_>) -> Result<Known, Stop> {
        let clock = stream.clock();
        if hit.kept.asker != asker(&job.user_id) {
            let begins_at = stream.opened_at() + self.starts.one_of(&job.request_id.to_string());
            while Instant::now() < begins_at {
                let left = begins_at.saturating_duration_since(Instant::now());
                sleep(left.min(LOOK_AFTER)).await;
                stream.look().await?;
                if stream.is_cancelled() {
                    let shown = stream.shown().to_owned();
                    return Ok(Known::Answer(Box::new(Answer::cancelled(shown))));
                }
            }
        }
        let level = hit.origin.as_str();
        count(level, clock.now());
        info!(level, "answered by what was kept");
        Ok(Known::Answer(Box::new(Answer::kept(hit))))
    }

    /// Says that a call is under way for which others may be waiting, until it is dropped.
    #[expect(
        clippy::infinite_loop,
        reason = "it ends when the call does and it is dropped"
    )]
    pub(crate) async fn hold(&self, flight: Option<&Flight>, clock: Clock) -> Infallible {
        let mut beats = interval(FLIGHT_EVERY);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats.tick().await;
        loop {
            beats.tick().await;
            let Some(Flight { sought, name, .. }) = flight else {
                continue;
            };
            let renewed = self.answers.renew(&sought.place, name, clock.now()).await;
            if let Err(error) = renewed {
                away(&error);
            }
        }
    }

    /// Keeps an answer, or lets those who wait for it ask for themselves. Cost: one write, two where the question
    /// can be read by what it means.
    pub(crate) async fn keep(&self, keeping: Keeping, clock: Clock) {
        let Keeping {
            job,
            flight:
                Flight {
                    sought,
                    name,
                    meaning,
                },
            kept,
        } = keeping;
        let now = clock.now();
        let done = match &kept {
            Some(kept) => {
                let until = now.after(self.settings.life);
                let meaning = match meaning {
                    Some(meaning) => Some(meaning),
                    None if job.message.len() > MEANING_BYTES_MAX => None,
                    None => {
                        let meaning = self.semantic.meaning(&job.message).await;
                        self.pay_for(&job, meaning.as_ref(), clock).await;
                        meaning
                    }
                };
                let meaning = meaning.as_ref().map(|meaning| answers::Meaning {
                    question: &job.message,
                    version: &meaning.version,
                    vector: &meaning.vector,
                });
                let keep = self
                    .answers
                    .keep(&sought.place, &name, kept, meaning, until);
                keep.await.map(drop)
            }
            None => self.answers.release(&sought.place, &name).await,
        };
        if let Err(error) = done {
            away(&error);
        }
    }
}

impl Keeping {
    /// What is to be done with an answer once its turn is over: it is kept if it is whole, and paid for.
    pub(crate) fn of(
        flight: Flight,
        answer: &Answer,
        bill: Option<&Bill>,
        job: &TurnJob,
        now: Timestamp,
    ) -> Self {
        let whole = match &answer.end {
            End::Finished {
                reason: FinishReason::Stop,
                response_id,
            } if answer.is_plain && !answer.text.is_empty() => Some(response_id),
            _ => None,
        };
        let kept = whole.zip(bill).map(|(response_id, bill)| Kept {
            question: flight.sought.question.as_str().to_owned(),
            text: answer.text.clone(),
            response_id: response_id.clone(),
            tokens: bill.call.tokens,
            made_at: now,
            asker: asker(&job.user_id),
        });
        Self {
            job: Box::new(job.clone()),
            flight,
            kept,
        }
    }
}

/// An answer that was kept, and what it was kept for.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) origin: Origin,
    /// Where it is kept.
    pub(crate) place: Place,
    pub(crate) kept: Kept,
    /// The words that it was kept for, if they are others and only the verifier says that they ask the same.
    pub(crate) other_words: Option<String>,
}

impl Hit {
    fn exact(sought: &Sought, kept: Kept) -> Self {
        Self {
            origin: Origin::Exact,
            place: sought.place.clone(),
            kept,
            other_words: None,
        }
    }
}

enum Waited {
    Known(Box<Kept>),
    /// Who asked brought nothing, or is dead.
    ForNothing,
    Cancelled,
    TooLong,
}

/// How long fresh answers take to begin.
#[derive(Debug, Default)]
pub(crate) struct Starts(Mutex<Vec<Duration>>);

impl Starts {
    /// A fresh answer has begun.
    pub(crate) fn note(&self, start: Duration) {
        let mut starts = self.lock();
        if starts.len() >= STARTS_MAX {
            starts.remove(0);
        }
        starts.push(start.min(START_MAX));
    }

    /// One of them, always the same for the same word while none is noted.
    fn one_of(&self, word: &str) -> Duration {
        let starts = self.lock();
        let digest = id::digest(&["start", word]);
        let number = digest
            .get(..8)
            .and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let place = number
            .unwrap_or_default()
            .checked_rem(starts.len())
            .unwrap_or_default();
        starts.get(place).copied().unwrap_or(START_DEFAULT)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Duration>> {
        // A panic elsewhere does not make times wrong.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn whose call a flight is, whoever attempts it.
fn flight_name(job: &TurnJob) -> String {
    let accepted_at = job.accepted_at.unix_ms().to_string();
    id::digest(&[job.user_id.as_str(), job.request_id.as_str(), &accepted_at])
}

fn nothing_kept(job: &TurnJob) -> Known {
    let language = Language::of_tag(&job.language);
    let error = notice::error_in(ErrorCode::NotFound, "payload.cache", language);
    Known::Answer(Box::new(Answer::refused(error)))
}

/// The model is to be asked, for one turn alone.
fn missed(now: Timestamp) -> Known {
    count("miss", now);
    Known::Nothing(None)
}

fn away(error: &TableError) {
    warn!(error = causes(error), "the answer cache cannot be used");
}

fn count(level: &'static str, now: Timestamp) {
    metric::count("cache_lookups_total", 1, &[("level", level)], now);
}
