//! One turn, in the order in which it happens: history, prompt, answer, end.

use std::time::Duration;

use sparkle_aws::{
    boot::Invocation,
    failure::{Failure, causes},
    metric,
    table::{
        TableError,
        conversations::Recent,
        leases::{Held, Spent, Written},
        turns::{Ending, Gain, Turn},
    },
};
use sparkle_core::{
    chat,
    frame::{Body, Done, ErrorBody, HistoryEntry, Speaker, StoredFrame, TurnJob},
    notice::{self, Language},
    price::Model,
    unit::{Timestamp, TokenUsage},
};
use sparkle_llm::{Message, Prompt, TraceParent};
use sparkle_wire::frame;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::{
    App, Clock,
    answer::{Answer, End, Writer},
    audience::Audience,
    stream::{Stream, insist, is_away},
};

/// How often a turn is tried: what fails so often, or kills its worker, will do so again.
const ATTEMPTS_MAX: u32 = 10;
/// How often the end of a turn is tried while its conversation changes under it or the tables are away.
const FINISH_TRIES_MAX: u32 = 40;
const FINISH_PAUSE: Duration = Duration::from_millis(250);
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

/// Runs a turn whose lease is held, after the messages that were said before it. It is over then, but
/// its audience may still be taking its last frames.
///
/// Cost: for each frame one write; at the end one transaction. On a second attempt one query more.
pub(crate) async fn run(
    app: &App,
    job: &TurnJob,
    held: Held,
    recent: &Recent,
    at: &Invocation,
    clock: Clock,
) -> Result<Audience, Stop> {
    // A model that was withdrawn while the turn waited: the default answers.
    let model = app
        .catalogue
        .find(&job.model)
        .unwrap_or(app.catalogue.default_model());
    let prompt = prompt(job, model, recent);
    let (attempt, spent) = (held.attempt, held.spent);
    let is_given_up = attempt > ATTEMPTS_MAX;
    let mut stream = if is_given_up {
        error!(attempt, "the turn is given up");
        Stream::to_be_ended(app, job, held, clock)
    } else {
        Stream::open(app, job, held, clock).await?
    };
    let earlier = spent_before(attempt, spent, &prompt, stream.shown());

    let answer = if is_given_up {
        Answer::given_up(earlier, model)
    } else if stream.is_cancelled() {
        Answer::cancelled(stream.shown().to_owned(), earlier, model)
    } else {
        let end_ms = at.deadline.unix_ms() - i64::try_from(END_TIME.as_millis()).unwrap_or(0);
        let deadline = clock
            .instant(Timestamp::from_unix_ms(end_ms))
            .min(clock.instant(clock.now().after(ANSWER_TIME_MAX)));
        Writer::new(app, &mut stream, earlier)
            .write(&prompt, model, deadline)
            .await?
    };
    let turn = Attempt {
        app,
        job,
        clock,
        length: recent.length,
    };
    let last = stream.last(last_bodies(job, &answer), clock.now());
    let (answer, last) = match turn.finish(&mut stream, &answer, &last).await {
        Ok(()) => (answer, last),
        Err(Unfinished::Unkeepable(cause)) => {
            // It will not be kept by trying again, so the learner is told, and the turn is over.
            error!(error = causes(&cause), "the answer cannot be kept");
            let lost = answer.lost();
            let last = stream.last(last_bodies(job, &lost), clock.now());
            match turn.finish(&mut stream, &lost, &last).await {
                Ok(()) => (lost, last),
                Err(Unfinished::Unkeepable(cause)) => return Err(cause.into()),
                Err(Unfinished::Stopped(stop)) => return Err(stop),
            }
        }
        Err(Unfinished::Stopped(stop)) => return Err(stop),
    };
    report(&answer, model, clock);
    Ok(stream.close(&last))
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

/// What earlier attempts consumed at most: one that recorded nothing may have asked the model all the
/// same, and have had it say again what was shown.
fn spent_before(attempt: u32, recorded: Spent, prompt: &Prompt, shown: &str) -> Spent {
    let attempts = attempt.saturating_sub(1);
    let silent = attempts.saturating_sub(recorded.attempts);
    let each = prompt_bound(prompt).plus(TokenUsage::bound(0, 0, shown.len()));
    let tokens = (0..silent).fold(recorded.tokens, |tokens, _| tokens.plus(each));
    Spent { attempts, tokens }
}

/// What asking the model cannot exceed, without its answer.
pub(crate) fn prompt_bound(prompt: &Prompt) -> TokenUsage {
    let bytes = prompt.messages.iter().map(|message| message.text.len());
    TokenUsage::bound(bytes.sum(), prompt.messages.len(), 0)
}

fn report(answer: &Answer, model: &Model, clock: Clock) {
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
    let tokens = answer.usage.tokens;
    for (kind, tokens) in [
        ("input", tokens.prompt_tokens),
        ("output", tokens.completion_tokens),
    ] {
        let labels = [("model", model.id.as_str()), ("type", kind)];
        metric::count("tokens_consumed_total", u64::from(tokens), &labels, now);
    }
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    info!(status, duration_ms, "turn over");
}

fn prompt(job: &TurnJob, model: &Model, recent: &Recent) -> Prompt {
    let mut messages = vec![Message::system(chat::instructions(
        &job.role,
        &job.language,
    ))];
    let bytes_max = chat::history_bytes_max(model, &job.message);
    messages.extend(chat::window(&recent.entries, bytes_max).iter().map(
        |entry| match entry.speaker {
            Speaker::User => Message::user(&entry.text),
            Speaker::Assistant => Message::assistant(&entry.text),
        },
    ));
    messages.push(Message::user(&job.message));
    let span_id = u64::from(job.stream().get());
    Prompt {
        trace_parent: TraceParent::new(job.trace_id.as_str(), span_id),
        ..Prompt::new(&model.id, messages, model.answer_tokens_max)
    }
}

/// An attempt at a turn, after a conversation of so many messages.
struct Attempt<'a> {
    app: &'a App,
    job: &'a TurnJob,
    clock: Clock,
    length: u64,
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

impl Attempt<'_> {
    /// Ends the turn: keeps its last frames together with what the conversation gains.
    ///
    /// A conversation that was deleted under the turn does not come back with its answer.
    async fn finish(
        &self,
        stream: &mut Stream<'_>,
        answer: &Answer,
        last: &[StoredFrame],
    ) -> Result<(), Unfinished> {
        let Self { app, job, .. } = *self;
        let question = self.entry(Speaker::User, &job.message, job.accepted_at);
        let at = self.clock.now();
        let reply = self.entry(Speaker::Assistant, &answer.text, at);
        let frames = stream.tail_with(last);
        let (mut is_deleted, mut may_be_ended, mut tries) = (false, false, 0);
        loop {
            tries += 1;
            let gain = match &answer.end {
                End::Failed { .. } => Gain::Failure,
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
            };
            let finished = app
                .turns
                .finish(&app.leases, &app.conversations, job, &ending);
            let error = match finished.await {
                Ok(()) => return Ok(()),
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
                // By this worker, if its lease held until then; by another otherwise, with other last frames.
                let lease = stream.lease();
                match insist(async || app.leases.look(lease).await).await? {
                    Written::Kept(known) if known.waits(&job.request_id) => {
                        app.leases.drop_first(lease, &known, at).await?;
                    }
                    Written::Kept(_) => {}
                    Written::Lost => return Err(Stop::LostAtTheEnd.into()),
                }
                return Ok(());
            }
            let now = insist(async || app.conversations.recent(user, session, 1).await).await?;
            is_deleted = now.length != self.length;
        }
    }

    fn entry(&self, speaker: Speaker, text: &str, at: Timestamp) -> HistoryEntry {
        let (text, request_id) = (text.to_owned(), self.job.request_id.clone());
        HistoryEntry {
            speaker,
            text,
            at,
            request_id,
        }
    }
}

fn last_bodies(job: &TurnJob, answer: &Answer) -> Vec<Body> {
    match &answer.end {
        End::Finished {
            reason,
            response_id,
        } => vec![
            Body::Usage(answer.usage),
            Body::Done(Done {
                response_id: response_id.clone(),
                finish_reason: *reason,
            }),
        ],
        End::Failed {
            code,
            retry_after_ms,
        } => {
            let notice = notice::error(*code, Language::of_tag(&job.language));
            vec![Body::Error(ErrorBody {
                retry_after_ms: *retry_after_ms,
                ..notice
            })]
        }
    }
}
