//! One turn, in the order in which it happens: history, prompt, answer, end.

use std::time::Duration;

use sparkle_aws::{
    boot::Invocation,
    failure::{Failure, causes},
    meter::{Admitted, Plan, Purse, Settlement},
    metric,
    table::{
        TableError,
        conversations::Recent,
        leases::{Held, Lease, Written},
        turns::{Ending, Gain, Turn},
    },
};
use sparkle_core::{
    context::TooLong,
    frame::{Body, Done, ErrorBody, ErrorCode, HistoryEntry, Speaker, StoredFrame, TurnJob, Usage},
    id::CallGroup,
    ledger::{Bill, Purpose},
    notice::{self, Language},
    price::Model,
    quota::{Denied, Wish},
    summary::Summary,
    unit::{Timestamp, TokenUsage},
};
use sparkle_wire::frame;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::{
    App, Clock,
    answer::{Answer, End, Writer},
    audience::Audience,
    memory::{self, Wanted},
    prompt::Composed,
    stream::{Stream, insist, is_away},
};

/// How often a turn is tried: what fails so often, or kills its worker, will do so again.
const ATTEMPTS_MAX: u32 = 10;
/// How often the end of a turn is tried while its conversation changes under it or the tables are away.
const FINISH_TRIES_MAX: u32 = 40;
const FINISH_PAUSE: Duration = Duration::from_millis(250);
/// Pause after the first try that met with other calls of the same learner, twice as long after the
/// second, and so on.
const CONTENDED_PAUSE: Duration = Duration::from_millis(5);
/// Longest answer.
const ANSWER_TIME_MAX: Duration = Duration::from_mins(14);
/// Left of the invocation for the end of a turn.
const END_TIME: Duration = Duration::from_secs(30);

/// Why a turn was not brought to its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Its lease is another's.
    Lost,
    /// The same, but it may have been ended before, and nobody was told.
    LostAtTheEnd,
    /// A later delivery may succeed.
    Failed(Failure),
}

impl From<TableError> for Stop {
    fn from(error: TableError) -> Self {
        Self::Failed(error.into())
    }
}

/// A turn that is over.
pub(crate) struct Over {
    /// It may still be taking the last frames.
    pub(crate) audience: Audience,
    /// Not on its way yet.
    pub(crate) bill: Option<Bill>,
    /// Not ordered yet.
    pub(crate) wanted: Option<Wanted>,
}

/// Runs a turn whose lease is held, after the messages that were said before it.
///
/// Cost: for each frame one write; before the model is asked two round trips; at the end one transaction.
/// On a second attempt two queries more, and a transaction for what the first may have spent.
pub(crate) async fn run(
    app: &App,
    job: &TurnJob,
    held: Held,
    recent: &Recent,
    at: &Invocation,
    clock: Clock,
) -> Result<Over, Stop> {
    // A model that was withdrawn while the turn waited: the default answers. Its prices are those of this
    // moment until the attempt is over: what is held and what is billed agree.
    let catalogue = app.meter.catalogue(clock.now()).await?;
    let model = &catalogue
        .find(&job.model)
        .unwrap_or(catalogue.default_model())
        .at(clock.now());
    let attempt = held.attempt;
    let is_given_up = attempt > ATTEMPTS_MAX;
    let mut turn = Attempt {
        app,
        job,
        model,
        clock,
        number: attempt,
        length: recent.length,
        gained: 0,
        summary: None,
        is_recalled: false,
        earlier: TokenUsage::default(),
        purse: None,
    };
    if attempt > 1 {
        turn.close_earlier(&held.lease).await?;
    }
    let mut stream = if is_given_up {
        error!(attempt, "the turn is given up");
        Stream::to_be_ended(app, job, held, clock)
    } else {
        let (stream, summary) = tokio::join!(
            Stream::open(app, job, held, clock),
            memory::recall(app, job, recent.length, clock)
        );
        turn.summary = summary;
        stream?
    };
    let answer = if is_given_up {
        Answer::given_up()
    } else if stream.is_cancelled() {
        Answer::cancelled(stream.shown().to_owned())
    } else {
        turn.ask(&mut stream, recent, at).await?
    };
    let mut bill = turn.bill(&answer);
    let ended = turn.end(&mut stream, answer, &mut bill).await;
    let (answer, last) = match ended {
        Ok(ended) => ended,
        Err(stop) => {
            turn.settle(bill.as_ref()).await;
            return Err(stop);
        }
    };
    report(&answer, bill.as_ref(), clock);
    Ok(turn.over(stream.close(&last), bill, at))
}

/// Posts the end of a turn again, whose worker died before it could, or before it could tell the queue.
/// Cost: two reads and a post for everybody who followed it.
pub(crate) async fn say_again(
    app: &App,
    job: &TurnJob,
    last_seq: u32,
    now: Timestamp,
) -> Result<(), Failure> {
    let (user, session, request) = (&job.user_id, &job.session_id, &job.request_id);
    let before = last_seq.saturating_sub(1);
    let (standing, last) = tokio::join!(
        app.leases.find(user, session),
        app.turns.frames(user, request, before, now),
    );
    let listening = standing?.map(|standing| standing.listening(request));
    let mut followers: Vec<_> = listening
        .into_iter()
        .flatten()
        .map(|listener| listener.destination)
        .collect();
    if !followers.contains(&job.destination) {
        followers.push(job.destination.clone());
    }
    for frame in last? {
        for destination in &followers {
            if let Some(text) = frame::decode_stored(&frame.bytes, destination.format) {
                app.push.post(&destination.connection_id, text).await?;
            }
        }
    }
    Ok(())
}

fn report(answer: &Answer, bill: Option<&Bill>, clock: Clock) {
    let (now, took, status) = (clock.now(), clock.since.elapsed(), answer.end.as_str());
    metric::seconds(
        "chat_request_duration_seconds",
        took.as_secs_f64(),
        &[("method", "chat")],
        now,
    );
    metric::count(
        "chat_requests_total",
        1,
        &[("method", "turn"), ("status", status)],
        now,
    );
    if let Some(Bill { call, .. }) = bill {
        for (kind, tokens) in [
            ("input", call.tokens.prompt_tokens),
            ("output", call.tokens.completion_tokens),
        ] {
            let labels = [("model", call.model.as_str()), ("type", kind)];
            metric::count("tokens_consumed_total", u64::from(tokens), &labels, now);
        }
    }
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    info!(status, duration_ms, "turn over");
}

/// An attempt at a turn, after a conversation of so many messages.
struct Attempt<'a> {
    app: &'a App,
    job: &'a TurnJob,
    model: &'a Model,
    clock: Clock,
    number: u32,
    length: u64,
    /// So many messages came of it.
    gained: u64,
    /// Of its older part.
    summary: Option<Summary>,
    /// Whether the model saw it.
    is_recalled: bool,
    /// What earlier attempts consumed.
    earlier: TokenUsage,
    /// What this one is paid from, once it may ask the model.
    purse: Option<Box<Purse>>,
}

/// Why a turn could not be ended.
enum Unfinished {
    /// Its answer can never be kept.
    Unkeepable(TableError),
    Stopped(Stop),
}

impl From<Stop> for Unfinished {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

impl From<TableError> for Unfinished {
    fn from(error: TableError) -> Self {
        Self::Stopped(error.into())
    }
}

impl<'a> Attempt<'a> {
    /// Settles what earlier attempts may have spent.
    async fn close_earlier(&mut self, lease: &Lease) -> Result<(), Stop> {
        let (app, clock) = (self.app, self.clock);
        let (user, calls) = (&self.job.user_id, self.calls());
        let right = app.leases.right(lease)?;
        let close = async || {
            app.meter
                .close_earlier(user, &calls, &right, clock.now())
                .await
        };
        self.earlier = insist(close).await?.ok_or(Stop::Lost)?;
        Ok(())
    }

    /// Has the model answer, after as much of what was said before as fits, within the invocation's time.
    async fn ask(
        &mut self,
        stream: &mut Stream<'a>,
        recent: &Recent,
        at: &Invocation,
    ) -> Result<Answer, Stop> {
        let Self {
            app,
            job,
            model,
            clock,
            ..
        } = *self;
        let end_ms = at.deadline.unix_ms() - i64::try_from(END_TIME.as_millis()).unwrap_or(0);
        let deadline = clock
            .instant(Timestamp::from_unix_ms(end_ms))
            .min(clock.instant(clock.now().after(ANSWER_TIME_MAX)));
        let summary = self.summary.as_ref();
        let composing = app.prompts.compose(&app.llm, job, model, recent, summary);
        match composing.await {
            Ok(composed) => self.answer(stream, composed, deadline).await,
            Err(too_long) => Ok(self.refuse(too_long)),
        }
    }

    fn calls(&self) -> CallGroup {
        CallGroup::of_turn(&self.job.request_id, self.job.accepted_at)
    }

    fn refuse(&self, too_long: TooLong) -> Answer {
        info!(error = causes(&too_long), "the message does not fit");
        let language = Language::of_tag(&self.job.language);
        Answer::refused(notice::error(ErrorCode::TooLarge, language))
    }

    /// Has the model answer, if that may be paid for.
    async fn answer(
        &mut self,
        stream: &mut Stream<'a>,
        mut composed: Composed,
        deadline: Instant,
    ) -> Result<Answer, Stop> {
        let Self {
            app, job, clock, ..
        } = *self;
        let mut admitted = self.admit(stream.lease(), &composed).await?;
        if let Admitted::Denied(Denied::Tokens(_) | Denied::Money(_), _) = admitted
            && app.prompts.tighten(&mut composed).await
        {
            admitted = self.admit(stream.lease(), &composed).await?;
        }
        let mut purse = match admitted {
            Admitted::Granted(purse) => purse,
            Admitted::Denied(denied, account) => {
                let language = Language::of_tag(&job.language);
                let error = denied.notice(&account.zone, clock.now(), language);
                return Ok(Answer::refused(error));
            }
            Admitted::CalledOff => return Err(Stop::Lost),
        };
        composed.prompt.answer_tokens_max = purse.answer_tokens_max();
        let mut writer = Writer::new(app, stream, &mut purse);
        let written = writer.write(&composed, deadline).await;
        let consumed = writer.consumed(&composed);
        app.prompts.learn(&composed, &consumed, self.model);
        let bill = purse.bill(consumed, self.model, clock.now());
        self.purse = Some(purse);
        self.is_recalled = composed.has_summary;
        if written.is_err() {
            self.settle(Some(&bill)).await;
        }
        written
    }

    /// Pays by itself what the attempt has consumed: another goes on with the turn, or will.
    async fn settle(&mut self, bill: Option<&Bill>) {
        if let (Some(purse), Some(bill)) = (self.purse.take(), bill)
            && let Err(error) = (self.app.meter)
                .settle(*purse, bill, self.clock.now())
                .await
        {
            warn!(error = causes(&error), "a call is left to the sweeper");
        }
    }

    async fn admit(&self, lease: &Lease, composed: &Composed) -> Result<Admitted, Stop> {
        let Self {
            app, job, clock, ..
        } = *self;
        let plan = Plan {
            id: self.calls().call(self.number),
            user_id: &job.user_id,
            tier: job.tier,
            session_id: &job.session_id,
            request_id: &job.request_id,
            trace_id: &job.trace_id,
            purpose: Purpose::Chat,
            destination: Some(&job.destination),
            wish: Wish {
                model: self.model,
                prompt_tokens: composed.tokens,
                answer_tokens_max: composed.prompt.answer_tokens_max,
            },
            earlier: self.earlier,
            right: app.leases.right(lease)?,
        };
        let admit = async || Box::pin(app.meter.admit(&plan, clock.now())).await;
        Ok(insist(admit).await?)
    }

    /// What the attempt costs, if it asked the model.
    fn bill(&self, answer: &Answer) -> Option<Bill> {
        let (purse, consumed) = (self.purse.as_ref()?, answer.consumed?);
        Some(purse.bill(consumed, self.model, self.clock.now()))
    }

    /// Ends the turn with its answer, or with the word that it cannot be kept; and the last frames.
    async fn end(
        &mut self,
        stream: &mut Stream<'a>,
        answer: Answer,
        bill: &mut Option<Bill>,
    ) -> Result<(Answer, Vec<StoredFrame>), Stop> {
        let last = stream.last(self.last_bodies(&answer), self.clock.now());
        match self.finish(stream, &answer, bill.as_ref(), &last).await {
            Ok(()) => {
                if self.purse.is_none() {
                    *bill = None;
                }
                return Ok((answer, last));
            }
            Err(Unfinished::Stopped(stop)) => return Err(stop),
            Err(Unfinished::Unkeepable(cause)) => {
                error!(error = causes(&cause), "the answer cannot be kept");
            }
        }
        // It will not be kept by trying again, so the learner is told, and the turn is over.
        let lost = answer.lost();
        *bill = self.bill(&lost);
        let last = stream.last(self.last_bodies(&lost), self.clock.now());
        match self.finish(stream, &lost, bill.as_ref(), &last).await {
            Ok(()) => Ok((lost, last)),
            Err(Unfinished::Unkeepable(cause)) => Err(cause.into()),
            Err(Unfinished::Stopped(stop)) => Err(stop),
        }
    }

    /// Keeps the turn's last frames together with what the conversation gains.
    ///
    /// A conversation that was deleted under the turn does not come back with its answer.
    async fn finish(
        &mut self,
        stream: &mut Stream<'a>,
        answer: &Answer,
        bill: Option<&Bill>,
        last: &[StoredFrame],
    ) -> Result<(), Unfinished> {
        let Self { app, job, .. } = *self;
        let at = self.clock.now();
        let (question, reply) = self.said(answer, bill, at);
        let frames = stream.tail_with(last);
        let (mut is_deleted, mut may_be_ended, mut tries) = (false, false, 0);
        loop {
            tries += 1;
            let gain = match &answer.end {
                End::Failed { .. } | End::Refused(_) => Gain::Failure,
                End::Finished { .. }
                    if answer.text.is_empty() || is_deleted || stream.is_forgotten() =>
                {
                    Gain::Nothing
                }
                End::Finished { .. } => Gain::Answer {
                    length: self.length,
                    question: &question,
                    answer: &reply,
                },
            };
            let ending = Ending {
                lease: stream.lease(),
                known: stream.standing(),
                gain,
                at,
                frames: &frames,
                settlement: self.settlement(bill),
            };
            let finished = app
                .turns
                .finish(&app.leases, &app.conversations, job, &ending);
            let error = match finished.await {
                Ok(()) => {
                    self.gained = ending.gain.messages();
                    return Ok(());
                }
                Err(error @ (TableError::Refused(_) | TableError::Corrupt(_))) => {
                    return Err(Unfinished::Unkeepable(error));
                }
                Err(error) if tries >= FINISH_TRIES_MAX => return Err(error.into()),
                Err(error) => error,
            };
            warn!(error = causes(&error), "the turn is not ended yet");
            if is_away(&error) {
                may_be_ended = true;
                sleep(FINISH_PAUSE).await;
            }
            // Lost, or somebody asked to listen, or the answer to an earlier try was lost.
            stream.look().await.map_err(|stop| match stop {
                Stop::Lost if may_be_ended => Stop::LostAtTheEnd,
                stop => stop,
            })?;
            if !stream.standing().waits(&job.request_id) {
                return Ok(());
            }
            let (user, session, request) = (&job.user_id, &job.session_id, &job.request_id);
            let turn = insist(async || app.turns.find(user, request, self.clock.now()).await);
            if let Some(Turn::Answered { .. }) = turn.await? {
                return self.leave(stream, at).await;
            }
            let now = insist(async || app.conversations.recent(user, session, 1).await).await?;
            is_deleted = now.length != self.length;
            if let Some(purse) = &mut self.purse
                && !insist(async || app.meter.look(purse).await).await?
            {
                // By another, who took this attempt for dead: the turn ends without.
                self.purse = None;
            }
            sleep(CONTENDED_PAUSE * tries).await;
        }
    }

    /// The turn is over: by this worker, if its lease held until then; by another otherwise, with other last
    /// frames.
    async fn leave(&self, stream: &Stream<'a>, at: Timestamp) -> Result<(), Unfinished> {
        let (app, lease) = (self.app, stream.lease());
        match insist(async || app.leases.look(lease).await).await? {
            Written::Kept(known) if known.waits(&self.job.request_id) => {
                app.leases.drop_first(lease, &known, at).await?;
                Ok(())
            }
            Written::Kept(_) => Ok(()),
            Written::Lost => Err(Stop::LostAtTheEnd.into()),
        }
    }

    fn over(&self, audience: Audience, bill: Option<Bill>, at: &Invocation) -> Over {
        let Self {
            app, job, clock, ..
        } = *self;
        let length = self.length + self.gained;
        let wanted = Wanted::after(app, job, length, self.summary.as_ref(), at, clock);
        Over {
            audience,
            bill,
            wanted: wanted.filter(|_| self.gained > 0),
        }
    }

    fn settlement<'b>(&'b self, bill: Option<&'b Bill>) -> Option<Settlement<'b>> {
        Some(Settlement {
            meter: &self.app.meter,
            purse: self.purse.as_deref()?,
            bill: bill?,
        })
    }

    /// What the conversation gains.
    fn said(
        &self,
        answer: &Answer,
        bill: Option<&Bill>,
        at: Timestamp,
    ) -> (HistoryEntry, HistoryEntry) {
        let Self { app, job, .. } = *self;
        let question = HistoryEntry {
            tokens: Composed::ready_count(&app.llm, self.model, &job.message),
            ..self.entry(Speaker::User, &job.message, job.accepted_at)
        };
        let reply = HistoryEntry {
            tokens: bill.and_then(|bill| answer.counted(bill)),
            ..self.entry(Speaker::Assistant, &answer.text, at)
        };
        (question, reply)
    }

    fn entry(&self, speaker: Speaker, text: &str, at: Timestamp) -> HistoryEntry {
        let (text, request_id) = (text.to_owned(), self.job.request_id.clone());
        HistoryEntry {
            speaker,
            text,
            at,
            request_id,
            tokens: None,
        }
    }

    fn last_bodies(&self, answer: &Answer) -> Vec<Body> {
        let language = Language::of_tag(&self.job.language);
        match &answer.end {
            End::Finished {
                reason,
                response_id,
            } => vec![
                Body::Usage(self.usage(answer)),
                Body::Done(Done {
                    response_id: response_id.clone(),
                    finish_reason: *reason,
                    summary_used: self.is_recalled,
                }),
            ],
            End::Failed {
                code,
                retry_after_ms,
            } => vec![Body::Error(ErrorBody {
                retry_after_ms: *retry_after_ms,
                ..notice::error(*code, language)
            })],
            End::Refused(error) => vec![Body::Error(error.clone())],
        }
    }

    /// Of all attempts together.
    fn usage(&self, answer: &Answer) -> Usage {
        let call = self.bill(answer).map(|bill| bill.call);
        let consumed = call.as_ref().map(|call| call.tokens).unwrap_or_default();
        let tokens = self.earlier.plus(consumed);
        Usage {
            tokens,
            estimated: self.earlier.total() > 0 || call.is_some_and(|call| call.estimated),
            cost: self.model.cost(tokens),
            saved_tokens: 0,
        }
    }
}
