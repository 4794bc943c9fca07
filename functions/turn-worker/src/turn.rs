//! One turn, in the order in which it happens: history, prompt, answer, end.

use std::time::Duration;

use sparkle_aws::{
    boot::Invocation,
    failure::{Failure, causes},
    meter::{Admitted, Plan, Purse},
    table::{
        TableError,
        conversations::Recent,
        leases::{Held, Lease},
    },
};
use sparkle_core::{
    cache::{entry::Place, sought::Sought},
    context::TooLong,
    frame::{ErrorCode, TurnJob},
    id::CallGroup,
    ledger::{Bill, Purpose},
    notice::{self, Language},
    price::Model,
    profile::Manner,
    quota::{Denied, Wish},
    summary::Summary,
    unit::{Timestamp, TokenUsage},
};
use sparkle_wire::frame as wire;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::{
    App, Clock,
    answer::{Answer, Writer},
    audience::Audience,
    judge::Check,
    known::{Flight, Keeping, Known},
    memory::{self, Wanted},
    prompt::Composed,
    report::report,
    stream::{Stream, insist},
};

mod ending;

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
    /// Not kept yet.
    pub(crate) keeping: Option<Keeping>,
    /// Not checked yet.
    pub(crate) check: Option<Check>,
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
        manner: job.manner.clone().unwrap_or_default(),
        place: None,
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
        let (stream, summary, manner) = tokio::join!(
            Stream::open(app, job, held, clock),
            memory::recall(app, job, recent.length, clock),
            manner(app, job, clock),
        );
        (turn.summary, turn.manner) = (summary, manner);
        stream?
    };
    let (answer, flight) = if is_given_up {
        (Answer::given_up(), None)
    } else {
        Box::pin(turn.obtain(&mut stream, recent, at)).await?
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
    let keeping = flight.map(|flight| {
        // Of a conversation that was deleted nothing is kept.
        let is_kept = turn.gained > 0;
        Keeping::of(
            flight,
            &answer,
            bill.as_ref().filter(|_| is_kept),
            job,
            clock.now(),
        )
    });
    Ok(Over {
        keeping,
        check: Check::of(&answer, job, app.cache.settings()),
        ..turn.over(stream.close(&last), bill, at)
    })
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
            if let Some(text) = wire::decode_stored(&frame.bytes, destination.format) {
                app.push.post(&destination.connection_id, text).await?;
            }
        }
    }
    Ok(())
}

/// How the learner wants to be answered: it came with the turn, but from the last release. Cost: then one read.
async fn manner(app: &App, job: &TurnJob, clock: Clock) -> Manner {
    if let Some(manner) = &job.manner {
        return manner.clone();
    }
    let context = app.learners.of(&job.user_id, None, clock.now()).await;
    context.manner()
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
    /// How who asks is taught.
    manner: Manner,
    /// Where its answer is going to be kept, if it is asked for and may be.
    place: Option<Place>,
    /// Of its older part.
    summary: Option<Summary>,
    /// Whether the model saw it.
    is_recalled: bool,
    /// What earlier attempts consumed.
    earlier: TokenUsage,
    /// What this one is paid from, once it may ask the model.
    purse: Option<Box<Purse>>,
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

    /// The answer: one that was given before, or the model's; then also the call that others may wait for.
    async fn obtain(
        &mut self,
        stream: &mut Stream<'a>,
        recent: &Recent,
        at: &Invocation,
    ) -> Result<(Answer, Option<Flight>), Stop> {
        if stream.is_cancelled() {
            return Ok((Answer::cancelled(stream.shown().to_owned()), None));
        }
        let (app, clock, deadline) = (self.app, self.clock, self.deadline(at));
        let flight = match self.known(stream, deadline).await? {
            Known::Answer(answer) => return Ok((*answer, None)),
            Known::Nothing(flight) => flight,
        };
        if stream.is_cancelled() {
            return Ok((Answer::cancelled(stream.shown().to_owned()), flight));
        }
        self.place = flight.as_ref().map(|flight| flight.place().clone());
        let ask = self.ask(stream, recent, flight.as_ref(), deadline);
        let answer = tokio::select! {
            biased;
            never = app.cache.hold(flight.as_ref(), clock) => match never {},
            answer = ask => answer?,
        };
        Ok((answer, flight))
    }

    /// Until when an answer must be there.
    fn deadline(&self, at: &Invocation) -> Instant {
        let clock = self.clock;
        let end_ms = at.deadline.unix_ms() - i64::try_from(END_TIME.as_millis()).unwrap_or(0);
        clock
            .instant(Timestamp::from_unix_ms(end_ms))
            .min(clock.instant(clock.now().after(ANSWER_TIME_MAX)))
    }

    /// Looks for an answer that was given before.
    async fn known(&self, stream: &mut Stream<'a>, deadline: Instant) -> Result<Known, Stop> {
        let Self {
            app, job, model, ..
        } = *self;
        let settings = app.cache.settings();
        let sought = Sought::of_turn(job, &self.manner, &model.id, self.length, settings);
        app.cache.find(job, sought, stream, deadline).await
    }

    /// Has the model answer, after as much of what was said before as fits; after nothing, where others may get
    /// the answer too.
    async fn ask(
        &mut self,
        stream: &mut Stream<'a>,
        recent: &Recent,
        flight: Option<&Flight>,
        deadline: Instant,
    ) -> Result<Answer, Stop> {
        let Self {
            app, job, model, ..
        } = *self;
        let is_for_all = flight.is_some_and(Flight::is_for_all);
        let nothing = Recent::default();
        let anybody = Manner {
            personal: None,
            ..self.manner.clone()
        };
        let (manner, recent, summary) = if is_for_all {
            (&anybody, &nothing, None)
        } else {
            (&self.manner, recent, self.summary.as_ref())
        };
        let composing = app
            .prompts
            .compose(&app.llm, (job, manner), model, recent, summary);
        match composing.await {
            Ok(composed) => self.answer(stream, composed, deadline).await,
            Err(too_long) => Ok(self.refuse(too_long)),
        }
    }

    /// What the learner is told something in: the message's, else the profile's.
    fn language(&self) -> Language {
        let asked = Some(&*self.job.language).filter(|tag| !tag.is_empty());
        Language::of_tag(asked.unwrap_or(&self.manner.style.language))
    }

    fn calls(&self) -> CallGroup {
        CallGroup::of_turn(&self.job.request_id, self.job.accepted_at)
    }

    fn refuse(&self, too_long: TooLong) -> Answer {
        info!(error = causes(&too_long), "the message does not fit");
        Answer::refused(notice::error(ErrorCode::TooLarge, self.language()))
    }

    /// Has the model answer, if that may be paid for.
    async fn answer(
        &mut self,
        stream: &mut Stream<'a>,
        mut composed: Composed,
        deadline: Instant,
    ) -> Result<Answer, Stop> {
        let Self { app, clock, .. } = *self;
        let mut admitted = self.admit(stream.lease(), &composed).await?;
        if let Admitted::Denied(Denied::Tokens(_) | Denied::Money(_), _) = admitted
            && app.prompts.tighten(&mut composed).await
        {
            admitted = self.admit(stream.lease(), &composed).await?;
        }
        let mut purse = match admitted {
            Admitted::Granted(purse) => purse,
            Admitted::Denied(denied, account) => {
                let error = denied.notice(&account.zone, clock.now(), self.language());
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

    /// What the attempt costs, if it asked the model, or has saved.
    fn bill(&self, answer: &Answer) -> Option<Bill> {
        if let Some(hit) = &answer.hit {
            let (call, place) = (self.calls().call(self.number), &hit.place);
            let saved = hit.kept.tokens;
            return Some(Bill::saved(self.job, call, place, saved, self.clock.now()));
        }
        let (purse, consumed) = (self.purse.as_ref()?, answer.consumed?);
        Some(purse.bill(consumed, self.model, self.clock.now()))
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
            keeping: None,
            check: None,
        }
    }
}
