//! Turns that are asked for twice, resumed, followed from several devices, cancelled: each has one answer,
//! in one order, for everybody.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{
    Client, Stack,
    follow::{Following, Took},
    request,
};
use tokio::task::JoinSet;

use crate::{fault::entries, provider::Provider};

const COPIES: usize = 100;
const CONNECTIONS: usize = 5;
const CUTS: usize = 20;
/// Turns of one conversation that may wait, and listeners that nobody has seen: as in
/// `shared/aws/src/table/leases.rs`.
const LINE: usize = 100;
const CROWD: usize = 110;

/// An answer of so many pieces, each `pause_ms` after the one before, and its text.
pub(crate) fn slow(pieces: usize, pause_ms: u64) -> (String, String) {
    let pieces: Vec<String> = (0..pieces).map(|n| format!("第{n}步 🙂 ")).collect();
    let text = pieces.concat();
    let script = json!({ "pieces": pieces, "pause_ms": pause_ms });
    (format!("#script {script}"), text)
}

/// The next frame that is about a request or its stream.
async fn reply(client: &mut Client, id: &str) -> Result<Value> {
    loop {
        let frame = client.frame().await?;
        if frame["request_id"] == id {
            return Ok(frame);
        }
    }
}

/// A frame without what differs between two requests.
fn without_ids(mut frame: Value) -> Value {
    for id in ["request_id", "stream", "trace_id"] {
        frame.as_object_mut().and_then(|frame| frame.remove(id));
    }
    frame
}

#[tokio::test]
async fn a_hundred_copies_of_a_frame_are_one_turn() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let (message, text) = slow(100, 100);
    let mut learners = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (mut client, message) = (stack.connect("ann").await?, message.clone());
        learners.spawn(async move {
            let mut stream = Following::of("r1");
            for _ in 0..COPIES / CONNECTIONS {
                stream.chat(&mut client, "s1", &message).await?;
            }
            stream
                .acknowledged(&mut client, COPIES / CONNECTIONS)
                .await?;
            stream.to_the_end(&mut client).await?;
            stream.settled(&mut client).await?;
            anyhow::Ok(stream)
        });
    }
    let (mut fresh, mut acks) = (0, 0);
    while let Some(stream) = learners.join_next().await {
        let stream = stream??;
        acks += stream.acks.len();
        fresh += stream
            .acks
            .iter()
            .filter(|ack| ack["duplicate"] != true)
            .count();
        assert_eq!(stream.text(), text);
        assert_eq!((stream.doubled, stream.early, stream.restarts()), (0, 0, 0));
    }
    assert_eq!((acks, fresh), (COPIES, 1));
    assert_eq!(provider.stats().await?["calls"], 1);
    let mut client = stack.connect("ann").await?;
    assert_eq!(entries(&mut client, "s1").await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn two_conversations_of_fifty_interleaved_turns_keep_their_order() -> Result<()> {
    let (provider, notes) = (Provider::start().await?, Provider::start().await?);
    let options = provider.options();
    let options = options.variable("SPARKLE_SUMMARY_BASE_URL", notes.base_url());
    let stack = options.start().await?;
    let mut client = stack.connect("ann").await?;
    let mut streams: Vec<(Following, String)> = Vec::new();
    let take = |streams: &mut Vec<(Following, String)>, frame: &Value| -> Result<()> {
        for (stream, _) in streams.iter_mut() {
            if stream.take(frame)? != Took::Foreign {
                break;
            }
        }
        Ok(())
    };
    for turn in 0..100 {
        let (session, id) = (format!("s{}", turn % 2), format!("r{turn}"));
        let pieces = [format!("[{turn}] "), "one ".to_owned(), "two".to_owned()];
        let message = format!("#script {}", json!({ "pieces": pieces }));
        let stream = Following::of(&id);
        stream.chat(&mut client, &session, &message).await?;
        streams.push((stream, message));
        while streams[turn].0.acks.is_empty() {
            take(&mut streams, &client.frame().await?)?;
        }
    }
    while !streams.iter().all(|(stream, _)| stream.is_over()) {
        take(&mut streams, &client.frame().await?)?;
    }
    for session in 0..2 {
        let kept = client
            .ask(
                "history",
                json!({ "session_id": format!("s{session}"), "limit": 100 }),
            )
            .await?;
        let kept = kept["payload"]["entries"].as_array().context("entries")?;
        assert_eq!(kept.len(), 100);
        let own = streams.iter().skip(session).step_by(2);
        for (pair, (stream, message)) in kept.chunks(2).zip(own) {
            assert_eq!(pair[0]["text"], message.as_str());
            assert_eq!(pair[1]["text"], stream.text());
            assert_eq!((stream.doubled, stream.early, stream.acks.len()), (0, 0, 1));
        }
    }
    assert_eq!(provider.stats().await?["calls"], 100);
    // One of the first 16 messages, and each further one of 6 more, however the turns and their orders cross.
    let summaries = notes.stats().await?["calls"].as_u64().context("calls")?;
    assert!((2..=2 * 14).contains(&summaries), "{summaries}");
    Ok(())
}

#[tokio::test]
async fn an_answer_is_whole_though_its_socket_is_cut_twenty_times() -> Result<()> {
    let stack = Stack::start().await?;
    let (message, text) = slow(400, 40);
    let mut chance = fastrand::Rng::with_seed(7);
    let mut stream = Following::of("r1");
    for cut in 0..CUTS {
        let mut client = stack.connect("ann").await?;
        if stream.acks.is_empty() {
            stream.chat(&mut client, "s1", &message).await?;
        } else {
            stream.resume(&mut client).await?;
        }
        // The first cuts may come before anything does.
        for _ in 0..chance.usize(0..6) {
            stream.take(&client.frame().await?)?;
        }
        ensure!(!stream.is_over(), "the answer is over before cut {cut}");
    }
    let mut client = stack.connect("ann").await?;
    stream.resume(&mut client).await?;
    stream.to_the_end(&mut client).await?;
    assert_eq!(stream.text(), text);
    assert_eq!((stream.doubled, stream.early, stream.restarts()), (0, 0, 0));
    assert_eq!(entries(&mut client, "s1").await?[1]["text"], text.as_str());
    Ok(())
}

#[tokio::test]
async fn two_devices_follow_one_answer_at_once() -> Result<()> {
    let stack = Stack::start().await?;
    let (message, text) = slow(60, 50);
    let (mut phone, mut tablet) = (stack.connect("ann").await?, stack.connect("ann").await?);
    let (mut on_phone, mut on_tablet) = (Following::of("r1"), Following::of("r1"));
    on_phone.chat(&mut phone, "s1", &message).await?;
    on_phone.grown(&mut phone, 3).await?;
    on_tablet.resume_after(&mut tablet, 0).await?;
    let (phone_got, tablet_got) = tokio::join!(
        on_phone.to_the_end(&mut phone),
        on_tablet.to_the_end(&mut tablet)
    );
    phone_got?;
    tablet_got?;
    for stream in [&on_phone, &on_tablet] {
        assert_eq!(stream.text(), text);
        assert_eq!((stream.doubled, stream.early, stream.restarts()), (0, 0, 0));
    }
    assert!(on_phone.frames().eq(on_tablet.frames()));
    Ok(())
}

#[tokio::test]
async fn a_finished_a_running_and_a_waiting_turn_are_resumed() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let (first, first_text) = slow(60, 50);
    let (second, second_text) = slow(5, 0);
    let (mut running, mut waiting) = (Following::of("r1"), Following::of("r2"));
    running.chat(&mut client, "s1", &first).await?;
    running.acknowledged(&mut client, 1).await?;
    waiting.chat(&mut client, "s1", &second).await?;
    while waiting.acks.is_empty() {
        let frame = client.frame().await?;
        running.take(&frame)?;
        waiting.take(&frame)?;
    }
    running.grown(&mut client, 3).await?;
    drop(client);

    let mut client = stack.connect("ann").await?;
    waiting.resume(&mut client).await?;
    let ack = waiting.acknowledged(&mut client, 2).await?;
    assert!(
        ack["finished"].is_null() && ack["last_seq"].is_null(),
        "{ack}"
    );
    running.resume(&mut client).await?;
    while !(running.is_over() && waiting.is_over()) {
        let frame = client.frame().await?;
        running.take(&frame)?;
        waiting.take(&frame)?;
    }
    for (stream, text) in [(&running, &first_text), (&waiting, &second_text)] {
        assert_eq!(stream.text(), *text);
        assert_eq!((stream.doubled, stream.early, stream.restarts()), (0, 0, 0));
    }
    let ack = &running.acks[1];
    assert!(
        ack["finished"].is_null() && ack["last_seq"].as_u64() > Some(0),
        "{ack}"
    );

    let last = running.contiguous();
    let mut again = Following::of("r1");
    again.resume_after(&mut client, 0).await?;
    again.to_the_end(&mut client).await?;
    assert!(again.frames().eq(running.frames()));
    assert_eq!(again.acks, [json!({ "last_seq": last, "finished": true })]);
    Ok(())
}

#[tokio::test]
async fn after_the_end_there_is_only_the_ack() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let mut stream = Following::of("r1");
    let (message, _) = slow(5, 0);
    stream.chat(&mut client, "s1", &message).await?;
    stream.to_the_end(&mut client).await?;
    stream.acknowledged(&mut client, 1).await?;
    let last = stream.contiguous();
    for after_seq in [last, last + 1, u64::from(u32::MAX)] {
        let asked = json!({ "request_id": "r1", "after_seq": after_seq });
        let ack = client.ask("resume", asked).await?;
        assert_eq!(ack["type"], "ack", "{ack}");
        assert_eq!(ack["stream"].as_u64(), stream.number(), "{ack}");
        assert_eq!(
            ack["payload"],
            json!({ "last_seq": last, "finished": true })
        );
        // A frame of the stream would be the next.
        assert_eq!(client.ask("ping", json!({})).await?["type"], "pong");
    }
    let one_before = json!({ "request_id": "r1", "after_seq": last - 1 });
    assert_eq!(client.ask("resume", one_before).await?["type"], "ack");
    assert_eq!(client.frame().await?, *stream.last());
    Ok(())
}

#[tokio::test]
async fn what_is_not_ones_own_is_not_found_and_looks_like_what_is_not_there() -> Result<()> {
    let stack = Stack::start().await?;
    let (mut ann, mut bob) = (stack.connect("ann").await?, stack.connect("bob").await?);
    let (message, text) = slow(80, 50);
    let (mut running, mut finished) = (Following::of("running"), Following::of("finished"));
    finished.chat(&mut ann, "s1", "thanks").await?;
    finished.to_the_end(&mut ann).await?;
    running.chat(&mut ann, "s1", &message).await?;
    running.grown(&mut ann, 2).await?;
    let mut answers = Vec::new();
    for kind in ["resume", "cancel"] {
        for named in ["running", "finished", "never-asked"] {
            let refused = bob.ask(kind, json!({ "request_id": named })).await?;
            assert_eq!(refused["type"], "error", "{kind} {named}: {refused}");
            assert_eq!(refused["payload"]["code"], "NOT_FOUND", "{kind} {named}");
            answers.push(without_ids(refused));
        }
    }
    assert!(
        answers.windows(2).all(|two| two[0] == two[1]),
        "{answers:?}"
    );
    // Nor has it had an effect.
    running.to_the_end(&mut ann).await?;
    assert_eq!(running.text(), text);
    assert_eq!(running.last()["payload"]["finish_reason"], "stop");
    Ok(())
}

#[tokio::test]
async fn an_id_is_one_payloads_for_ever() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let (message, text) = slow(40, 50);
    let mut stream = Following::of("r1");
    stream.chat(&mut client, "s1", &message).await?;
    stream.acknowledged(&mut client, 1).await?;
    let others = [
        json!({ "session_id": "s1", "message": "another" }),
        json!({ "session_id": "s2", "message": message }),
        json!({ "session_id": "s1", "message": message, "language": "en" }),
    ];
    let mut other_device = stack.connect("ann").await?;
    for other in &others {
        other_device
            .send(request("chat", "r1", other.clone()))
            .await?;
        let refused = reply(&mut other_device, "r1").await?;
        assert_eq!(refused["payload"]["code"], "INVALID_ARGUMENT", "{refused}");
        assert_eq!(refused["payload"]["field"], "request_id", "{refused}");
    }
    stream.to_the_end(&mut client).await?;
    assert_eq!(stream.text(), text);
    for other in &others {
        other_device
            .send(request("chat", "r1", other.clone()))
            .await?;
        let refused = reply(&mut other_device, "r1").await?;
        assert_eq!(refused["payload"]["code"], "INVALID_ARGUMENT", "{refused}");
    }
    // Fields in another order, and unknown ones, are the same payload.
    let same = format!(
        r#"{{"payload":{{"message":{},"later":1,"session_id":"s1"}},"request_id":"r1","type":"chat","version":"2.0"}}"#,
        json!(message)
    );
    other_device.send(same).await?;
    let mut again = Following::of("r1");
    again.to_the_end(&mut other_device).await?;
    assert!(again.frames().eq(stream.frames()));
    assert_eq!(entries(&mut client, "s2").await?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn a_flood_of_resumes_is_answered_and_hurts_nobody() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let (message, text) = slow(150, 50);
    let mut device = stack.connect("ann").await?;
    let mut stream = Following::of("r1");
    stream.chat(&mut device, "s1", &message).await?;
    stream.grown(&mut device, 2).await?;
    let mut flooding = stack.connect("ann").await?;
    let mut ids = Vec::new();
    for _ in 0..300 {
        let asked = json!({ "request_id": "r1", "after_seq": 1_000 });
        ids.push(flooding.request("resume", asked).await?);
    }
    let mut bob = stack.connect("bob").await?;
    assert!(!bob.chat("s1", "thanks").await?.text.is_empty());
    let (mut acks, mut refused) = (0, 0);
    while acks + refused < ids.len() {
        let frame = flooding.frame().await?;
        match frame["type"].as_str() {
            Some("ack") => acks += 1,
            Some("error") => {
                assert_eq!(frame["payload"]["code"], "RATE_LIMITED", "{frame}");
                refused += 1;
            }
            _ => {}
        }
    }
    eprintln!("300 resumes: {acks} acknowledged, {refused} refused for now");
    assert!(acks > 0);
    stream.to_the_end(&mut device).await?;
    assert_eq!(stream.text(), text);
    assert_eq!((stream.doubled, stream.early), (0, 0));
    // One of them is Bob's.
    assert_eq!(provider.stats().await?["calls"], 2);
    Ok(())
}

#[tokio::test]
async fn a_running_answer_is_cancelled_though_another_process_writes_it() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let (message, text) = slow(400, 50);
    let (mut phone, mut tablet) = (stack.connect("ann").await?, stack.connect("ann").await?);
    let mut stream = Following::of("r1");
    stream.chat(&mut phone, "s1", &message).await?;
    stream.grown(&mut phone, 3).await?;
    let sent_at = Instant::now();
    tablet
        .request("cancel", json!({ "request_id": "r1" }))
        .await?;
    let stopped = async {
        while provider.stats().await?["aborted"] != 1 {}
        anyhow::Ok(sent_at.elapsed())
    };
    let over = async {
        stream.to_the_end(&mut phone).await?;
        anyhow::Ok(sent_at.elapsed())
    };
    let (stopped, over): (Result<Duration>, Result<Duration>) = tokio::join!(stopped, over);
    eprintln!(
        "from cancel to the provider {:?}, to `done` {:?}",
        stopped?, over?
    );
    assert_eq!(stream.last()["payload"]["finish_reason"], "cancelled");
    assert!(text.starts_with(&stream.text()) && stream.text().len() < text.len());
    let kept = entries(&mut phone, "s1").await?;
    assert_eq!(kept[1]["text"], stream.text());
    let served = provider.stats().await?["pieces"].as_u64();
    assert!(served < Some(400), "{served:?}");

    let refused = tablet.ask("cancel", json!({ "request_id": "r1" })).await?;
    assert_eq!(refused["payload"]["code"], "NOT_FOUND", "{refused}");
    assert!(refused["seq"].is_null());
    Ok(())
}

#[tokio::test]
async fn a_waiting_turn_is_cancelled_before_the_model_hears_of_it() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let mut client = stack.connect("ann").await?;
    let (message, text) = slow(60, 50);
    let (mut running, mut waiting) = (Following::of("r1"), Following::of("r2"));
    running.chat(&mut client, "s1", &message).await?;
    running.acknowledged(&mut client, 1).await?;
    waiting
        .chat(&mut client, "s1", "never asked of the model")
        .await?;
    while waiting.acks.is_empty() {
        let frame = client.frame().await?;
        running.take(&frame)?;
        waiting.take(&frame)?;
    }
    client
        .request("cancel", json!({ "request_id": "r2" }))
        .await?;
    while !(running.is_over() && waiting.is_over()) {
        let frame = client.frame().await?;
        running.take(&frame)?;
        waiting.take(&frame)?;
    }
    assert_eq!(running.text(), text);
    assert_eq!(waiting.last()["payload"]["finish_reason"], "cancelled");
    assert_eq!(waiting.text(), "");
    assert_eq!(provider.stats().await?["calls"], 1);
    Ok(())
}

#[tokio::test]
async fn a_full_line_and_a_crowd_are_refused_in_place_of_an_ack_and_later_let_in() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let (message, _) = slow(600, 500);
    let mut device = stack.connect("ann").await?;
    let mut running = Following::of("r0");
    running.chat(&mut device, "s1", &message).await?;
    running.grown(&mut device, 2).await?;
    running.acknowledged(&mut device, 1).await?;

    let mut other = stack.connect("ann").await?;
    for place in 1..LINE {
        let request_id = format!("r{place}");
        let waiting = Following::of(&request_id);
        waiting.chat(&mut other, "s1", "thanks").await?;
        let ack = reply(&mut other, &request_id).await?;
        assert_eq!(ack["type"], "ack", "{ack}");
    }
    let mut late = Following::of("late");
    late.chat(&mut other, "s1", "thanks").await?;
    let refused = reply(&mut other, "late").await?;
    assert_eq!(refused["payload"]["code"], "RATE_LIMITED", "{refused}");
    assert!(refused["payload"]["retry_after_ms"].is_u64(), "{refused}");

    // Nobody sees those who ask for a turn that waits.
    let mut third = stack.connect("ann").await?;
    let (mut acks, mut refusals) = (0, 0);
    for _ in 0..CROWD {
        let asked = json!({ "request_id": "r1", "after_seq": 0 });
        let answer = third.ask("resume", asked).await?;
        match answer["payload"]["code"].as_str() {
            None => acks += 1,
            Some(code) => {
                assert_eq!(code, "RATE_LIMITED", "{answer}");
                refusals += 1;
            }
        }
    }
    assert_eq!((acks, refusals), (LINE, CROWD - LINE));

    let delete = json!({ "action": "delete", "session_id": "s1" });
    let deleted = stack.connect("ann").await?.ask("sessions", delete).await?;
    assert_eq!(deleted["type"], "sessions", "{deleted}");
    running.to_the_end(&mut device).await?;
    assert_eq!(running.last()["payload"]["finish_reason"], "cancelled");
    late.chat(&mut other, "s1", "thanks").await?;
    late.to_the_end(&mut other).await?;
    assert_eq!(late.last()["payload"]["finish_reason"], "stop");
    assert_eq!(provider.stats().await?["calls"], 2);
    Ok(())
}
