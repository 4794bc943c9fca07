//! Bytes of conversations and frames of answers, by format.

use std::{iter, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sparkle_core::{
    cache::entry::Origin,
    coalesce::Coalescer,
    frame::{Ack, Body, Codec, Done, Encoding, FinishReason, Format, ServerFrame, Usage},
    id::{RequestId, SessionId, StreamId, TraceId, UserId},
    unit::{MicroUsd, Timestamp, TokenUsage},
};
use sparkle_tests::{
    bench::{against, say},
    foreign,
};
use sparkle_wire::frame::encode;

use crate::Conversation;

/// Tokens that a model hands over in a second.
const RATES: [u64; 3] = [20, 50, 100];
/// What the bytes are measured at: R-CHAT-6's.
const RATE: u64 = 50;
const NOW_MS: i64 = 1_764_000_000_000;

/// How a conversation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `version`, `type`, `payload`, `trace_id`, `request_id`, `timestamp` on every frame; ids are UUIDs.
    Envelope,
    /// JSON that leaves out what ours leaves out, without an envelope; a request is named by its UUID.
    Lean,
    /// Ours.
    Ours(Format),
}

impl Way {
    fn name(self) -> &'static str {
        let Self::Ours(Format { codec, encoding }) = self else {
            return match self {
                Self::Envelope => "(a) six-field JSON envelope",
                _ => "(b) equally lean JSON",
            };
        };
        match (codec, encoding) {
            (Codec::Json, Encoding::Plain) => "(c) ours, JSON",
            (Codec::Protobuf, Encoding::Plain) => "(d) ours, Protobuf in base64",
            (Codec::Json, Encoding::Deflate) => "(e) ours, JSON deflated",
            (Codec::Protobuf, Encoding::Deflate) => "(e) ours, Protobuf deflated",
        }
    }
}

fn ways() -> impl Iterator<Item = Way> {
    let formats = [Encoding::Plain, Encoding::Deflate]
        .into_iter()
        .flat_map(|encoding| {
            [Codec::Json, Codec::Protobuf].map(|codec| Way::Ours(Format { codec, encoding }))
        });
    [Way::Envelope, Way::Lean].into_iter().chain(formats)
}

/// How an answer's pieces become deltas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Each its own.
    PerToken,
    /// As `core::coalesce` gathers them at so many tokens a second.
    Coalesced(u64),
}

/// The deltas of an answer. Posting takes no time here; a slower one makes fewer of them.
fn deltas(pieces: &[String], cut: Cut) -> Vec<String> {
    let Cut::Coalesced(rate) = cut else {
        return pieces.to_vec();
    };
    let arrival = |number: usize| {
        Duration::from_micros(1_000_000 / rate) * u32::try_from(number).unwrap_or(u32::MAX)
    };
    let (mut coalescer, mut sent_at, mut deltas) =
        (Coalescer::default(), Duration::ZERO, Vec::new());
    for (number, piece) in pieces.iter().enumerate() {
        coalescer.push(piece);
        // Whatever is due before the next piece is there leaves when it is due.
        while let Some(due_at) = coalescer
            .wait()
            .map(|wait| (sent_at + wait).max(arrival(number)))
        {
            if due_at >= arrival(number + 1) {
                break;
            }
            sent_at = due_at;
            deltas.extend(coalescer.take());
        }
    }
    deltas.extend(iter::from_fn(|| coalescer.take()));
    deltas
}

/// All that travels for one conversation.
fn written(conversation: &Conversation, number: usize, cut: Cut, way: Way) -> Result<Vec<String>> {
    let wire = foreign::Wire::open()?;
    let user = UserId::parse("5f0c7a1e-user")?;
    let session = uuid(number, 0);
    let mut frames = Vec::new();
    for (turn, said) in conversation.turns.iter().enumerate() {
        let (request, trace) = (
            uuid(number, turn + 1),
            format!("{:032x}", 0x4bf9_2f35_77b3_4da6_u64),
        );
        let deltas = deltas(&said.pieces, cut);
        let question = json!({ "session_id": session, "message": said.question });
        frames.push(match way {
            Way::Envelope => six_fields("chat", &question, &trace, &request),
            Way::Lean => json!({ "type": "chat", "request_id": request, "trace_id": trace, "timestamp": NOW_MS,
                                 "session_id": session, "message": said.question }).to_string(),
            Way::Ours(format) => asked(&wire, &question, &trace, &request, format)?,
        });
        for frame in answer(&user, &request, &session, &trace, &deltas)? {
            let json = encode(&frame, Format::default());
            frames.push(match way {
                Way::Ours(format) => encode(&frame, format),
                Way::Envelope => {
                    let ours: Value = serde_json::from_str(&json)?;
                    six_fields(
                        ours["type"].as_str().context("a type")?,
                        &ours["payload"],
                        &trace,
                        &request,
                    )
                }
                Way::Lean => lean(serde_json::from_str(&json)?, &request),
            });
        }
    }
    Ok(frames)
}

fn uuid(conversation: usize, number: usize) -> String {
    let stable = 0x9f1b_6c2e_4d5a_4e3f_8a7b_0c1d_2e3f_0000_u128;
    let number = (conversation * 64 + number) as u128;
    uuid::Uuid::from_u128(stable + number).to_string()
}

fn six_fields(kind: &str, payload: &Value, trace: &str, request: &str) -> String {
    json!({ "version": "2.0", "type": kind, "payload": payload, "trace_id": trace, "request_id": request,
            "timestamp": NOW_MS })
    .to_string()
}

/// Our frame without envelope and stream number, its request named by its id.
fn lean(mut ours: Value, request: &str) -> String {
    let payload = ours["payload"].take();
    let mut lean = json!({ "type": ours["type"], "request_id": request });
    for field in ["seq", "timestamp", "trace_id"] {
        if !ours[field].is_null() {
            lean[field] = ours[field].take();
        }
    }
    for (name, value) in payload.as_object().into_iter().flatten() {
        lean[name] = value.clone();
    }
    lean.to_string()
}

/// A client's `chat`, deflated where that is shorter.
fn asked(
    wire: &foreign::Wire,
    question: &Value,
    trace: &str,
    request: &str,
    format: Format,
) -> Result<String> {
    let codec = match format.codec {
        Codec::Json => foreign::Codec::Json,
        Codec::Protobuf => foreign::Codec::Protobuf,
    };
    let more = json!({ "trace_id": trace, "timestamp": NOW_MS });
    let write = |payloads| {
        wire.write_with(
            ("chat", "ChatMessage"),
            request,
            question,
            (codec, payloads),
            &more,
        )
    };
    let plain = write(foreign::Payloads::Plain)?;
    if format.encoding == Encoding::Plain {
        return Ok(plain);
    }
    let deflated = write(foreign::Payloads::Deflated)?;
    Ok(if deflated.len() < plain.len() {
        deflated
    } else {
        plain
    })
}

/// The frames that answer a `chat`, as `ws-message` and `turn-worker` make them.
fn answer(
    user: &UserId,
    request: &str,
    session: &str,
    trace: &str,
    deltas: &[String],
) -> Result<Vec<ServerFrame>> {
    let request = RequestId::parse(request)?;
    let stream = Some(StreamId::of(user, &request));
    let ack = ServerFrame {
        trace_id: Some(TraceId::parse(trace)?),
        timestamp: Some(Timestamp::from_unix_ms(NOW_MS)),
        ..ServerFrame::answer(
            user,
            &request,
            Body::Ack(Ack {
                session_id: Some(SessionId::parse(session)?),
                ..Ack::default()
            }),
        )
    };
    let completion_tokens = u32::try_from(deltas.len())?;
    let tokens = TokenUsage {
        prompt_tokens: 300,
        cached_tokens: 0,
        completion_tokens,
    };
    let usage = Body::Usage(Usage {
        tokens,
        estimated: false,
        cost: MicroUsd::new(345),
        saved_tokens: 0,
    });
    let response_id = "chatcmpl-BxYz0123456789abcdefABCDEF01".to_owned();
    let done = Body::Done(Done {
        response_id,
        finish_reason: FinishReason::Stop,
        origin: Origin::Model,
        summary_used: false,
    });
    let text = |text: &String| Body::Delta {
        text: text.clone(),
        restart: false,
    };
    let bodies: Vec<Body> = deltas.iter().map(text).chain([usage, done]).collect();
    let last = bodies.len();
    let numbered = bodies.into_iter().zip(1u32..).map(|(body, seq)| {
        let is_final = usize::try_from(seq).is_ok_and(|seq| seq == last);
        ServerFrame {
            request_id: (seq == 1 || is_final).then(|| request.clone()),
            timestamp: is_final.then(|| Timestamp::from_unix_ms(NOW_MS)),
            trace_id: None,
            seq: Some(seq),
            stream,
            body,
        }
    });
    Ok(iter::once(ack).chain(numbered).collect())
}

fn total(conversations: &[&Conversation], cut: Cut, way: Way) -> Result<usize> {
    let mut bytes = 0;
    for (number, conversation) in conversations.iter().enumerate() {
        let frames = written(conversation, number, cut, way)?;
        bytes += frames.iter().map(String::len).sum::<usize>();
    }
    Ok(bytes)
}

/// By how many percent `ours` is less than `theirs`.
fn saved(ours: usize, theirs: usize) -> f64 {
    100.0 - 100.0 * ours as f64 / theirs as f64
}

/// Prints the bytes of these conversations in each format, and the frames of their answers.
pub(crate) fn measure(title: &str, conversations: &[Conversation]) -> Result<()> {
    say(&format!(
        "\nbytes on the wire, both directions, of {title}\n  features: trace ids and timestamps by every client; no retries"
    ))?;
    for language in ["en", "zh"] {
        let spoken: Vec<&Conversation> = conversations
            .iter()
            .filter(|c| c.language == language)
            .collect();
        let answers = spoken.iter().flat_map(|c| &c.turns);
        let (turns, tokens) = (
            answers.clone().count(),
            answers.map(|turn| turn.pieces.len()).sum::<usize>(),
        );
        if turns == 0 {
            continue;
        }
        say(&format!(
            "  {language}: {} conversations, {turns} turns, {tokens} tokens answered",
            spoken.len()
        ))?;
        say(&format!(
            "    {:<34}{:>12}{:>18}",
            "bytes",
            "per token",
            format!("gathered at {RATE}/s")
        ))?;
        let (mut per_token, mut gathered) = (Vec::new(), Vec::new());
        for way in ways() {
            let (each, together) = (
                total(&spoken, Cut::PerToken, way)?,
                total(&spoken, Cut::Coalesced(RATE), way)?,
            );
            say(&format!("    {:<34}{each:>12}{together:>18}", way.name()))?;
            per_token.push(each);
            gathered.push(together);
        }
        let (ours, best) = ways()
            .zip(&gathered)
            .skip(2)
            .min_by_key(|(_, bytes)| **bytes)
            .context("a way")?;
        let [envelope, lean, ..] = gathered.as_slice() else {
            continue;
        };
        let [envelope_each, lean_each, ..] = per_token.as_slice() else {
            continue;
        };
        say(&format!("    best of ours: {}", ours.name()))?;
        for (target, least, theirs) in [
            (
                "M17: 55 % below the envelope per token",
                55.0,
                envelope_each,
            ),
            (
                "M17: 55 % below the envelope on the same gathered deltas",
                55.0,
                envelope,
            ),
            ("R-CONN-3: 40 % below it, the least", 40.0, envelope),
            (
                "M17: 30 % below equally lean JSON per token",
                30.0,
                lean_each,
            ),
            ("M17: 30 % below it on the same gathered deltas", 30.0, lean),
        ] {
            let percent = saved(*best, *theirs);
            against(target, &format!("{percent:.0} %"), percent >= least)?;
        }
        let protobuf = gathered.get(3).context("Protobuf")?;
        say(&format!(
            "    Protobuf undeflated: {:.0} % below (a), {:.0} % below (b), on the same deltas",
            saved(*protobuf, *envelope),
            saved(*protobuf, *lean)
        ))?;
    }
    frames_of_answers(conversations)
}

/// Frames of an answer of 500 tokens: the long answers, shortened.
fn frames_of_answers(conversations: &[Conversation]) -> Result<()> {
    say("  frames of a 500-token answer: deltas, usage, done; and the ack")?;
    for rate in RATES {
        let long = conversations
            .iter()
            .flat_map(|c| &c.turns)
            .filter_map(|turn| turn.pieces.get(..500));
        for pieces in long.take(2) {
            let deltas = deltas(pieces, Cut::Coalesced(rate)).len();
            let frames = deltas + 3;
            let figure = format!("{frames}, of them {deltas} deltas");
            if rate == RATE {
                against(
                    "M17: about 25 (20 to 30), at 50 tokens a second",
                    &figure,
                    (20..=30).contains(&frames),
                )?;
            } else {
                say(&format!("          at {rate} tokens a second: {figure}"))?;
            }
        }
    }
    Ok(())
}
