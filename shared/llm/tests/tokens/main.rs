//! Counts of tokens against OpenAI's own tiktoken, which has written `golden.json` (see `golden.py`).

use anyhow::Result;
use proptest::prelude::*;
use serde::Deserialize;
use sparkle_llm::{ApiKey, Counter, Family, Llm, Message, Prompt, Settings, Tool, ToolCall};

#[derive(Deserialize)]
struct Texts {
    plain: Vec<String>,
    repeated: Vec<(String, usize)>,
}

#[derive(Deserialize)]
struct Golden {
    o200k: Ids,
    cl100k: Ids,
}

#[derive(Deserialize)]
struct Ids {
    plain: Vec<Vec<u32>>,
    repeated: Vec<u32>,
}

fn texts() -> Result<Texts> {
    Ok(serde_json::from_str(include_str!("texts.json"))?)
}

fn golden() -> Result<[(Family, Ids); 2]> {
    let Golden { o200k, cl100k } = serde_json::from_str(include_str!("golden.json"))?;
    Ok([(Family::O200k, o200k), (Family::Cl100k, cl100k)])
}

#[test]
fn ids_are_those_of_tiktoken() -> Result<()> {
    let texts = texts()?;
    for (family, ids) in golden()? {
        assert_eq!(ids.plain.len(), texts.plain.len());
        for (text, ids) in texts.plain.iter().zip(ids.plain) {
            assert_eq!(family.ids(text), Some(ids), "{family:?} {text:?}");
        }
    }
    Ok(())
}

#[test]
fn long_runs_are_counted_as_tiktoken_counts_them() -> Result<()> {
    let texts = texts()?;
    for (family, ids) in golden()? {
        assert_eq!(ids.repeated.len(), texts.repeated.len());
        for ((unit, times), tokens) in texts.repeated.iter().zip(ids.repeated) {
            let counted = Counter::Exact(family).text(&unit.repeat(*times));
            assert_eq!(counted, tokens, "{family:?} {unit:?}");
        }
    }
    Ok(())
}

#[test]
fn a_text_that_is_too_long_to_cut_is_counted_by_its_bytes() {
    let text = "word ".repeat(40_000);
    let bytes = u32::try_from(text.len()).unwrap();
    assert_eq!(Counter::Exact(Family::O200k).text(&text), bytes);
}

/// The page that `tokens.rs` cites shows that the API bills 129 tokens for this prompt to `gpt-4-0613` and 124
/// to `gpt-4o`. Four of its messages have names, which we never send.
#[test]
fn a_prompt_has_what_openai_bills_for_it() {
    let told = "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.";
    let said = [
        "New synergies will help drive top-line growth.",
        "Things working well together will increase revenue.",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
        "Let's talk later when we're less busy about how to do better.",
    ];
    let mut messages = vec![Message::system(told)];
    messages.extend(said.map(Message::system));
    messages.push(Message::user(
        "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    ));
    let prompt = Prompt::new("gpt-4o", messages, 1);
    // Twice `example_user`, two tokens, and `example_assistant`, three; one more around each.
    let names = 2 * (2 + 1) + 2 * (3 + 1);
    for (family, billed) in [(Family::Cl100k, 129 - names), (Family::O200k, 124 - names)] {
        assert_eq!(Counter::Exact(family).count(&prompt), billed, "{family:?}");
    }
}

#[test]
fn counts_are_exact_only_where_endpoint_and_model_are_known() -> Result<()> {
    let llm = |base_url: &str, tokenizer| {
        Llm::from_settings(&Settings {
            base_url: Some(base_url.to_owned()),
            api_key: ApiKey::new("key"),
            tokenizer,
            ..Settings::default()
        })
    };
    let exact = Counter::Exact(Family::O200k);
    let openai = llm("https://api.openai.com/v1", None)?;
    assert_eq!(openai.counter("gpt-4o-mini"), exact);
    assert_eq!(openai.counter("gpt-9"), Counter::Bytes);
    for elsewhere in [
        "http://api.openai.com/v1",
        "https://api.openai.com.example.org/v1",
        "https://example.org/v1",
    ] {
        let counter = llm(elsewhere, None)?.counter("gpt-4o-mini");
        assert_eq!(counter, Counter::Bytes, "{elsewhere}");
    }
    let stated = llm("https://example.org/v1", Some(Family::O200k))?;
    assert_eq!(stated.counter("tutor-1"), exact);
    let offline = Llm::from_settings(&Settings::default())?;
    assert_eq!(offline.counter("gpt-4o-mini"), Counter::Bytes);
    Ok(())
}

#[test]
fn tools_and_their_calls_are_in_the_count() {
    let call = ToolCall {
        id: "call_1".to_owned(),
        name: "search".to_owned(),
        arguments: r#"{"query":"derivative"}"#.to_owned(),
    };
    let with = vec![
        Message::user("hi"),
        Message::tool_calls("", vec![call]),
        Message::tool_result("call_1", "found"),
    ];
    let without = vec![
        Message::user("hi"),
        Message::assistant(""),
        Message::assistant("found"),
    ];
    let mut with = Prompt::new("gpt-4o", with, 1);
    let without = Prompt::new("gpt-4o", without, 1);
    let exact = Counter::Exact(Family::O200k);
    let calls = exact.count(&with);
    assert!(calls > exact.count(&without) + 20);
    with.tools.push(Tool {
        name: "search".to_owned(),
        description: "Finds notes.".to_owned(),
        parameters: serde_json::json!({ "type": "object" }),
    });
    assert!(exact.count(&with) > calls + 30);
    assert!(Counter::bound(&with) >= exact.count(&with));
}

proptest! {
    #[test]
    fn a_count_is_never_above_the_bound(texts in prop::collection::vec("\\PC{0,60}|[ a!的\n]{0,80}", 1..6)) {
        let messages = texts.iter().map(Message::user).collect();
        let prompt = Prompt::new("m", messages, 1);
        let bound = Counter::bound(&prompt);
        for family in [Family::O200k, Family::Cl100k] {
            prop_assert!(Counter::Exact(family).count(&prompt) <= bound);
        }
        prop_assert_eq!(Counter::Bytes.count(&prompt), bound);
    }
}
