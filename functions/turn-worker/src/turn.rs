//! One turn, in the order in which it happens: start, history, prompt, answer, end.

use sparkle_aws::{
    failure::{Failure, causes},
    metric,
    table::{
        TableError,
        conversations::Recent,
        turns::{Ending, Gain, Started},
    },
};
use sparkle_core::{
    chat,
    frame::{Body, Done, ErrorBody, HistoryEntry, ServerFrame, Speaker, TurnJob},
    notice::{self, Language},
    price::Model,
    unit::Timestamp,
};
use sparkle_llm::{Message, Prompt, TraceParent};
use tokio::time::Instant;
use tracing::{error, info};

use crate::{
    App,
    answer::{Answer, End, Writer},
    stream::Stream,
};

/// How often the end of a turn is tried while its conversation changes under it.
const FINISH_ATTEMPTS_MAX: u32 = 3;

/// The time of the invocation, carried on by the runtime's clock.
struct Clock {
    started: Timestamp,
    since: Instant,
}

impl Clock {
    fn now(&self) -> Timestamp {
        self.started.after(self.since.elapsed())
    }
}

/// Runs a turn that is not over yet.
///
/// Cost: before the first word one write and one query at once; for each frame one write and one post;
/// at the end one transaction.
pub(crate) async fn run(app: &App, job: &TurnJob, now: Timestamp) -> Result<(), Failure> {
    let clock = Clock {
        started: now,
        since: Instant::now(),
    };
    let (started, recent) = tokio::join!(
        app.turns.start(job, now),
        app.conversations
            .recent(&job.user_id, &job.session_id, chat::HISTORY_MESSAGES_MAX),
    );
    let Started::Running {
        last_seq,
        attempt,
        is_cancelled,
    } = started?
    else {
        info!("turn is over already");
        return Ok(());
    };
    let recent = recent?;
    // A model that was withdrawn while the turn waited: the default answers.
    let model = app
        .catalogue
        .find(&job.model)
        .unwrap_or(app.catalogue.default_model());

    let mut stream = Stream::after(last_seq, app, job);
    let answer = if is_cancelled {
        Answer::none()
    } else {
        let prompt = prompt(job, model, &recent);
        Writer::new(app, job, &mut stream)
            .write(&prompt, model)
            .await?
    };
    let turn = Turn {
        app,
        job,
        clock: &clock,
        attempt,
    };
    let frames = last_frames(job, &mut stream, &answer, clock.now());
    let (answer, frames) = match turn.finish(recent.length, &answer, &frames).await {
        Ok(()) => (answer, frames),
        Err(
            error @ (TableError::Conflict(_) | TableError::Refused(_) | TableError::Corrupt(_)),
        ) => {
            // It will not be kept by trying again, so the learner is told, and the turn is over.
            error!(error = causes(&error), "the answer cannot be kept");
            let lost = answer.lost();
            let mut stream = stream.without(&frames);
            let frames = last_frames(job, &mut stream, &lost, clock.now());
            turn.finish(0, &lost, &frames).await?;
            (lost, frames)
        }
        Err(error) => return Err(error.into()),
    };
    for frame in &frames {
        stream.post(frame).await?;
    }
    report(&answer, model, &clock);
    Ok(())
}

fn report(answer: &Answer, model: &Model, clock: &Clock) {
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

/// An attempt at a turn.
struct Turn<'a> {
    app: &'a App,
    job: &'a TurnJob,
    clock: &'a Clock,
    attempt: u32,
}

impl Turn<'_> {
    /// Ends the turn: stores its last frames together with what the conversation gains.
    ///
    /// A conversation that changed under the turn (deleted on another device) is read again: the answer
    /// is appended to what it is now.
    async fn finish(
        &self,
        length: u64,
        answer: &Answer,
        frames: &[ServerFrame],
    ) -> Result<(), TableError> {
        let Self {
            app,
            job,
            clock,
            attempt,
        } = *self;
        let entry = |speaker, text: &str, at| {
            let (text, request_id) = (text.to_owned(), job.request_id.clone());
            HistoryEntry {
                speaker,
                text,
                at,
                request_id,
            }
        };
        let question = entry(Speaker::User, &job.message, job.accepted_at);
        let reply = entry(Speaker::Assistant, &answer.text, clock.now());
        let (mut length, mut tries) = (length, 0);
        loop {
            tries += 1;
            let gain = match &answer.end {
                End::Failed { .. } => Gain::Failure,
                End::Finished { .. } if answer.text.is_empty() => Gain::Nothing,
                End::Finished { .. } => Gain::Answer {
                    length,
                    question: &question,
                    answer: &reply,
                },
            };
            let ending = Ending {
                attempt,
                gain,
                frames,
            };
            match app.turns.finish(&app.conversations, job, ending).await {
                Ok(()) => return Ok(()),
                Err(TableError::Conflict(_)) if tries < FINISH_ATTEMPTS_MAX => {
                    let now = app
                        .conversations
                        .recent(&job.user_id, &job.session_id, 1)
                        .await?;
                    length = now.length;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn last_frames(
    job: &TurnJob,
    stream: &mut Stream<'_>,
    answer: &Answer,
    now: Timestamp,
) -> Vec<ServerFrame> {
    match &answer.end {
        End::Finished {
            reason,
            response_id,
        } => {
            let done = Done {
                response_id: response_id.clone(),
                finish_reason: *reason,
            };
            vec![
                stream.next(Body::Usage(answer.usage)),
                stream.last(Body::Done(done), now),
            ]
        }
        End::Failed {
            code,
            retry_after_ms,
        } => {
            let notice = notice::error(*code, Language::of_tag(&job.language));
            let error = ErrorBody {
                retry_after_ms: *retry_after_ms,
                ..notice
            };
            vec![stream.last(Body::Error(error), now)]
        }
    }
}
