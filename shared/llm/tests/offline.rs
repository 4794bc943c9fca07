//! How the offline tutor behaves.
#![expect(
    clippy::expect_used,
    reason = "helpers of tests, outside of test functions"
)]

use std::time::Duration;

use sparkle_llm::offline::{Script, Tutor};
use sparkle_llm::{FinishReason, Llm, Message, Piece, Prompt};

async fn pieces(tutor: Tutor, prompt: &Prompt) -> Vec<Piece> {
    let llm = Llm::Offline(tutor);
    let mut reply = llm.stream(prompt).await.expect("an answer");
    let mut pieces = Vec::new();
    while let Some(piece) = reply.next().await {
        pieces.push(piece.expect("a piece"));
    }
    pieces
}

async fn answer(messages: Vec<Message>) -> String {
    let prompt = Prompt::new("offline", messages, 1000);
    let text = |piece: Piece| match piece {
        Piece::Text(text) => Some(text),
        _ => None,
    };
    pieces(Tutor::new().paced(Duration::ZERO), &prompt)
        .await
        .into_iter()
        .filter_map(text)
        .collect()
}

async fn answer_to(question: &str) -> String {
    answer(vec![Message::user(question)]).await
}

#[tokio::test]
async fn it_says_that_it_is_offline_then_teaches_then_checks() {
    let zh = answer_to("什么是勾股定理？").await;
    assert!(zh.starts_with("我是离线模型"), "{zh}");
    assert!(
        zh.contains("**数学**") && zh.contains("$a^{2}+b^{2}=c^{2}$"),
        "{zh}"
    );
    assert!(zh.trim_end().ends_with('？'), "{zh}");

    let en = answer_to("What is Newton's second law?").await;
    assert!(en.starts_with("I am the offline model"), "{en}");
    assert!(
        en.contains("**physics**") && en.contains("$F = ma$"),
        "{en}"
    );
    assert!(en.trim_end().ends_with('?'), "{en}");
}

#[tokio::test]
async fn it_admits_what_it_does_not_know_and_names_its_subjects() {
    let zh = answer_to("明天南京会下雨吗？").await;
    assert!(zh.contains("我的笔记里没有") && zh.contains("物理"), "{zh}");
    let en = answer_to("Who won the football match yesterday?").await;
    assert!(
        en.contains("do not cover") && en.contains("physics"),
        "{en}"
    );
    assert!(answer(Vec::new()).await.contains("offline model"));
}

#[tokio::test]
async fn it_follows_the_conversation() {
    let before = |last: &str| {
        vec![
            Message::user("什么是勾股定理？"),
            Message::assistant("……"),
            Message::user("谢谢"),
            Message::assistant("不客气"),
            Message::user(last),
        ]
    };
    let recalled = answer(before("我刚才问了什么？")).await;
    assert!(recalled.contains("“什么是勾股定理？”"), "{recalled}");
    let more = answer(before("能再讲一遍吗")).await;
    assert!(more.contains("直角三角形"), "{more}");
    let thanked = answer(before("谢谢！")).await;
    assert!(
        thanked.contains("不客气") && !thanked.contains("直角三角形"),
        "{thanked}"
    );

    let en = vec![
        Message::user("What is osmosis?"),
        Message::assistant("…"),
        Message::user("What did I ask you before?"),
    ];
    assert!(answer(en).await.contains("“What is osmosis?”"));
    let first = answer_to("what was my previous question").await;
    assert!(first.contains("no earlier question"), "{first}");
}

#[tokio::test]
async fn it_answers_in_many_small_pieces_and_the_same_every_time() {
    let prompt = Prompt::new("offline", vec![Message::user("什么是导数?")], 1000);
    let first = pieces(Tutor::new().paced(Duration::ZERO), &prompt).await;
    assert!(first.len() > 20, "{}", first.len());
    assert_eq!(
        first,
        pieces(Tutor::new().paced(Duration::ZERO), &prompt).await
    );
}

#[tokio::test]
async fn it_counts_four_bytes_a_token_and_keeps_to_the_bound() {
    let prompt = Prompt::new(
        "offline",
        vec![Message::system("1234"), Message::user("什么是导数?")], // 4 + 16 bytes
        10,
    );
    let pieces = pieces(Tutor::new().paced(Duration::ZERO), &prompt).await;
    let text: usize = pieces
        .iter()
        .map(|piece| {
            if let Piece::Text(text) = piece {
                text.len()
            } else {
                0
            }
        })
        .sum();
    let Some(Piece::Finish {
        reason,
        usage: Some(usage),
        ..
    }) = pieces.last()
    else {
        panic!("{pieces:?}")
    };
    assert_eq!(*reason, FinishReason::Length);
    assert_eq!(usage.prompt_tokens, 5);
    assert_eq!(usage.completion_tokens, 10);
    assert!((37..=40).contains(&text), "{text}");
}

#[tokio::test(start_paused = true)]
async fn it_takes_its_time() {
    let prompt = Prompt::new("offline", vec![Message::user("什么是导数?")], 1000);
    let begun = tokio::time::Instant::now();
    let count = u32::try_from(pieces(Tutor::new(), &prompt).await.len()).expect("few");
    assert_eq!(begun.elapsed(), Duration::from_millis(15) * count);
}

#[tokio::test(start_paused = true)]
async fn asking_in_short_turns_does_not_stop_it() {
    let llm = Llm::Offline(Tutor::scripted());
    let script = Script {
        pieces: vec!["a".into()],
        pause_ms: 50,
        ..Script::default()
    };
    let prompt = Prompt::new("offline", vec![Message::user(script.message())], 10);
    let mut reply = llm.stream(&prompt).await.expect("an answer");
    let mut turns = 0;
    while tokio::time::timeout(Duration::from_millis(20), reply.next())
        .await
        .is_err()
    {
        turns += 1;
        assert!(turns < 10, "never comes");
    }
}

#[tokio::test]
async fn a_script_is_only_obeyed_where_scripts_are() {
    let script = Script {
        pieces: vec!["obeyed".into()],
        ..Script::default()
    }
    .message();
    let ignored = answer_to(&script).await;
    assert!(ignored.contains("offline model"), "{ignored}");

    let prompt = Prompt::new("offline", vec![Message::user(script)], 10);
    let pieces = pieces(Tutor::scripted(), &prompt).await;
    assert_eq!(pieces.first(), Some(&Piece::Text("obeyed".into())));
}
