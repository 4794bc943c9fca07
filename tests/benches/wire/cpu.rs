//! CPU of the codecs, against serde_json on the same message: thread time, so that what else runs here
//! does not count, and medians of interleaved batches.

use std::{hint::black_box, time::Duration};

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sparkle_core::{
    frame::{Body, Codec, Encoding, Format, Request, ServerFrame},
    id::{RequestId, StreamId, UserId},
};
use sparkle_tests::{
    bench::{against, say},
    foreign,
};
use sparkle_wire::frame::{decode, encode};

const BATCHES: usize = 41;
/// Of one batch, roughly.
const BATCH: Duration = Duration::from_millis(2);
const SIZES_BYTES: [usize; 3] = [20, 150, 2_048];
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const REQUEST: &str = "9f1b6c2e-4d5a-4e3f-8a7b-0c1d2e3f4a5b";
const SESSION: &str = "1c9d4b7f-2e6a-4c8b-9f30-5a6b7c8d9e0f";

/// What serde_json reads: the six fields and the payload, typed, owned, in one pass.
#[derive(Debug, Serialize, Deserialize)]
struct SixFields<P> {
    version: String,
    r#type: String,
    payload: P,
    trace_id: String,
    request_id: String,
    timestamp: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    session_id: String,
    message: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Told {
    text: String,
}

/// Text of so many bytes, or a few less.
fn text(language: &str, bytes: usize) -> String {
    let sentence = match language {
        "zh" => "光合作用是绿色植物利用光能，把二氧化碳和水变成有机物的过程。",
        _ => "A derivative tells how fast a value changes; zoom in and see. ",
    };
    let long = sentence.repeat(bytes / sentence.len() + 1);
    long[..long.floor_char_boundary(bytes)]
        .trim_end()
        .to_owned()
}

/// The medians of what one call of each takes.
fn medians(calls: &mut [Box<dyn FnMut() + '_>]) -> Vec<Duration> {
    let thread_time = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(
            now.tv_sec.unsigned_abs(),
            u32::try_from(now.tv_nsec).unwrap_or(0),
        )
    };
    let time = |call: &mut Box<dyn FnMut() + '_>, times: u32| {
        let begun = thread_time();
        for _ in 0..times {
            call();
        }
        thread_time().saturating_sub(begun)
    };
    let times: Vec<u32> = calls
        .iter_mut()
        .map(|call| {
            let warm = time(call, 200).max(Duration::from_nanos(200)) / 200;
            u32::try_from(BATCH.as_nanos() / warm.as_nanos().max(1))
                .unwrap_or(u32::MAX)
                .max(1)
        })
        .collect();
    let mut taken: Vec<Vec<Duration>> = calls.iter().map(|_| Vec::new()).collect();
    for _ in 0..BATCHES {
        for ((call, &times), taken) in calls.iter_mut().zip(&times).zip(&mut taken) {
            taken.push(time(call, times) / times);
        }
    }
    taken
        .into_iter()
        .map(|mut taken| {
            taken.sort_unstable();
            taken[BATCHES / 2]
        })
        .collect()
}

fn format(codec: Codec, encoding: Encoding) -> Format {
    Format { codec, encoding }
}

/// Prints what reading and writing takes, by size and language.
pub(crate) fn measure() -> Result<()> {
    let wire = foreign::Wire::open()?;
    say("CPU to read a `chat`, nanoseconds of thread time, medians of 41 batches")?;
    say(
        "  ours also checks version, ids, nesting, lengths and characters; serde_json only fills its fields",
    )?;
    say(&format!(
        "  {:<14}{:>12}{:>12}{:>12}{:>18}",
        "message", "serde_json", "ours JSON", "ours pb", "ours pb deflated"
    ))?;
    let mut rows = Vec::new();
    for language in ["en", "zh"] {
        for bytes in SIZES_BYTES {
            rows.push((language, bytes, read(&wire, &text(language, bytes))?));
        }
    }
    for (language, bytes, row) in &rows {
        let [serde, json, protobuf, deflated] = row.map(|time| time.as_nanos());
        say(&format!(
            "  {:<14}{serde:>12}{json:>12}{protobuf:>12}{deflated:>18}",
            format!("{language} {bytes} B")
        ))?;
    }
    for (language, bytes, [serde, json, protobuf, _]) in rows {
        for (name, base) in [("serde_json", serde), ("our JSON path", json)] {
            let percent = 100.0 * protobuf.as_secs_f64() / base.as_secs_f64();
            let target = format!("R-CONN-3: 40 % of {name} at most, {language} {bytes} B");
            against(&target, &format!("{percent:.0} %"), percent <= 40.0)?;
        }
    }
    say("\nCPU to write a `delta`, nanoseconds")?;
    say(&format!(
        "  {:<14}{:>12}{:>12}{:>12}{:>18}{:>18}",
        "text", "serde_json", "ours JSON", "ours pb", "ours pb deflated", "JSON deflated"
    ))?;
    for language in ["en", "zh"] {
        for bytes in SIZES_BYTES {
            let row = write(&text(language, bytes))?.map(|time| time.as_nanos());
            let [serde, json, protobuf, deflated, json_deflated] = row;
            say(&format!(
                "  {:<14}{serde:>12}{json:>12}{protobuf:>12}{deflated:>18}{json_deflated:>18}",
                format!("{language} {bytes} B")
            ))?;
        }
    }
    Ok(())
}

/// What reading one message takes: serde_json, our JSON, our Protobuf, the same deflated.
fn read(wire: &foreign::Wire, message: &str) -> Result<[Duration; 4]> {
    let payload = json!({ "session_id": SESSION, "message": message });
    let more = json!({ "trace_id": TRACE, "timestamp": 1_764_000_000_000_i64 });
    let written = |codec, payloads| {
        wire.write_with(
            ("chat", "ChatMessage"),
            REQUEST,
            &payload,
            (codec, payloads),
            &more,
        )
    };
    let json = written(foreign::Codec::Json, foreign::Payloads::Plain)?;
    let protobuf = written(foreign::Codec::Protobuf, foreign::Payloads::Plain)?;
    let deflated = written(foreign::Codec::Protobuf, foreign::Payloads::Deflated)?;
    for text in [&json, &protobuf, &deflated] {
        let Ok((_, frame)) = decode(text) else {
            anyhow::bail!("refused: {text}")
        };
        ensure!(matches!(frame.request, Request::Chat(chat) if chat.message == message));
    }
    let typed: SixFields<Asked> = serde_json::from_str(&json)?;
    ensure!(typed.payload.message == message);
    let ours = |text| move || drop(black_box(decode(black_box(text))));
    let taken = medians(&mut [
        Box::new(|| {
            drop(black_box(serde_json::from_str::<SixFields<Asked>>(
                black_box(&json),
            )))
        }),
        Box::new(ours(&json)),
        Box::new(ours(&protobuf)),
        Box::new(ours(&deflated)),
    ]);
    taken.try_into().ok().context("four medians")
}

/// What writing one delta takes: serde_json with six fields, our JSON, our Protobuf, both deflated.
fn write(text: &str) -> Result<[Duration; 5]> {
    let request = RequestId::parse(REQUEST)?;
    let frame = ServerFrame {
        body: Body::Delta {
            text: text.to_owned(),
            restart: false,
        },
        request_id: None,
        trace_id: None,
        timestamp: None,
        seq: Some(7),
        stream: Some(StreamId::of(&UserId::parse("ann")?, &request)),
    };
    let six = SixFields {
        version: "2.0".to_owned(),
        r#type: "delta".to_owned(),
        payload: Told {
            text: text.to_owned(),
        },
        trace_id: TRACE.to_owned(),
        request_id: REQUEST.to_owned(),
        timestamp: 1_764_000_000_000,
    };
    ensure!(serde_json::from_str::<Value>(&serde_json::to_string(&six)?)?["type"] == "delta");
    let ours = |codec, encoding| {
        let frame = &frame;
        move || drop(black_box(encode(black_box(frame), format(codec, encoding))))
    };
    let taken = medians(&mut [
        Box::new(|| drop(black_box(serde_json::to_string(black_box(&six))))),
        Box::new(ours(Codec::Json, Encoding::Plain)),
        Box::new(ours(Codec::Protobuf, Encoding::Plain)),
        Box::new(ours(Codec::Protobuf, Encoding::Deflate)),
        Box::new(ours(Codec::Json, Encoding::Deflate)),
    ]);
    taken.try_into().ok().context("five medians")
}
