//! Laws of what goes out.

use proptest::prelude::*;

use super::*;
use crate::{price::Catalogue, unit::Timestamp};

const WIDE: Room = Room {
    prompt_tokens: 1_000_000,
    taken_tokens: 1_000,
};

fn model(id: &str) -> Model {
    let now = Timestamp::from_unix_ms(1_795_500_000_000);
    Catalogue::offering(id).unwrap().default_model().at(now)
}

/// The newest of a conversation of questions and answers in turn, as the tables return them.
fn talk(length: u64, tokens: u32) -> Vec<Entry> {
    let first = length.saturating_sub(10) + 1;
    (first..=length)
        .map(|position| Entry {
            kind: if position % 2 == 1 {
                Kind::Question
            } else {
                Kind::Answer
            },
            tokens,
        })
        .collect()
}

/// How many messages go.
fn sent(length: u64, recap: Option<Recap>, step: Step) -> usize {
    let recent = talk(length, 200);
    let conversation = Conversation {
        length,
        recent: &recent,
        recap,
    };
    let window = prune(&conversation, WIDE, step, &Settings::default()).unwrap();
    assert_eq!(window.has_recap, recap.is_some());
    recent.len() - window.first
}

fn step(turns: u64) -> Step {
    Step {
        messages: 2 * turns,
    }
}

#[test]
fn the_boundaries_are_those_of_the_requirement() {
    for turns in 1..=3 {
        let sent = |length| sent(length, None, step(turns));
        for length in 0..=10 {
            assert_eq!(sent(length), usize::try_from(length).unwrap());
        }
        assert!((5..=10).contains(&sent(11)));
        assert!((5..=10).contains(&sent(20)));
        assert_eq!(sent(21), 5);
        assert_eq!(sent(22), 6, "the fifth has its question with it");
    }
}

#[test]
fn a_summary_is_wanted_over_20_messages_and_then_in_steps() {
    let wanted = |length, covered| Settings::default().wanted(length, covered);
    assert_eq!(wanted(20, None), None);
    assert_eq!(wanted(21, None), Some(16));
    assert_eq!(wanted(22, None), Some(17));
    // Made of the first 17, it lasts for three turns.
    assert_eq!(wanted(24, Some(17)), None);
    assert_eq!(wanted(26, Some(17)), None);
    assert_eq!(wanted(28, Some(17)), Some(23));
    assert_eq!(wanted(8, Some(17)), None);
}

#[test]
fn a_window_grows_for_three_turns_and_lets_go_of_them_at_once() {
    let lengths = (10..=20).step_by(2);
    let sizes: Vec<usize> = lengths.map(|length| sent(length, None, step(3))).collect();
    assert_eq!(sizes, [10, 6, 8, 10, 6, 8]);
}

#[test]
fn what_no_provider_caches_is_cut_at_once() {
    let room = Room {
        taken_tokens: 424,
        ..WIDE
    };
    let sent = |length, tokens| {
        let recent = talk(length, tokens);
        let conversation = Conversation {
            length,
            recent: &recent,
            recap: None,
        };
        let window = prune(&conversation, room, step(3), &Settings::default()).unwrap();
        recent.len() - window.first
    };
    // The shortest window and what is beside it: 6 x 100 + 424.
    assert_eq!([sent(14, 100), sent(16, 100)], [8, 10]);
    assert_eq!([sent(14, 99), sent(16, 99)], [6, 6]);
}

#[test]
fn behind_a_summary_goes_all_that_it_leaves_out_until_the_next_one_is_late() {
    let recap = Recap {
        covers: 17,
        tokens: 100,
    };
    let lengths = (22..=34).step_by(2);
    let sent: Vec<_> = lengths
        .map(|length| sent(length, Some(recap), step(3)))
        .collect();
    assert_eq!(sent, [6, 8, 10, 6, 8, 10, 6]);
}

#[test]
fn a_summary_of_another_conversation_is_none() {
    let recent = talk(22, 200);
    let conversation = Conversation {
        length: 22,
        recent: &recent,
        recap: Some(Recap {
            covers: 23,
            tokens: 1,
        }),
    };
    let window = prune(&conversation, WIDE, step(3), &Settings::default()).unwrap();
    assert!(!window.has_recap);
}

#[test]
fn the_cheaper_cached_tokens_are_the_rarer_a_window_is_cut() {
    let settings = Settings::default();
    let turns = |input, cached_input| {
        let model = Model {
            input,
            cached_input,
            ..model("gpt-4o-mini")
        };
        Step::cheapest(&model, &settings).messages() / 2
    };
    assert_eq!(turns(100, 10), 3);
    assert_eq!(turns(100, 45), 3);
    assert_eq!(turns(100, 50), 2);
    assert_eq!(turns(100, 71), 2);
    assert_eq!(turns(100, 75), 1);
    assert_eq!(turns(100, 100), 1);
    assert_eq!(turns(0, 0), 3, "where all is free the most goes");
}

#[test]
fn what_nobody_caches_is_cut_as_short_as_may_be() {
    let recent = talk(16, 20);
    let conversation = Conversation {
        length: 16,
        recent: &recent,
        recap: None,
    };
    let room = Room {
        taken_tokens: 100,
        ..WIDE
    };
    let window = prune(&conversation, room, step(3), &Settings::default()).unwrap();
    assert_eq!(recent.len() - window.first, 6);
}

#[test]
fn a_message_that_does_not_fit_is_said_to_be_too_long() {
    let conversation = Conversation {
        length: 0,
        recent: &[],
        recap: None,
    };
    let room = Room {
        prompt_tokens: 100,
        taken_tokens: 101,
    };
    let refused = prune(&conversation, room, step(1), &Settings::default());
    assert_eq!(
        refused,
        Err(TooLong {
            taken_tokens: 101,
            prompt_tokens: 100
        })
    );
}

#[test]
fn a_pasted_document_keeps_its_beginning_and_its_end() {
    let room = Room {
        prompt_tokens: 200,
        taken_tokens: 50,
    };
    let text = format!("begin{}end", "x".repeat(1_000));
    let short = room.shortened(&text, 1_008);
    assert!(short.starts_with("beginx") && short.ends_with("xend"));
    assert!(short.contains("[…]") && short.len() + 8 <= 100);
    assert_eq!(room.shortened(&text, 100), text.as_str());
}

/// A history of turns, some with tools, and which turn each message belongs to.
fn histories() -> impl Strategy<Value = (Vec<Entry>, Vec<usize>)> {
    let turn = (0..3_usize, prop::collection::vec(1..3_000_u32, 8));
    let turns = prop::collection::vec(turn, 0..20);
    // The beginning may be cut anywhere, as a query of the newest few cuts it.
    (turns, 0..10_usize).prop_map(|(turns, cut)| {
        let mut said = Vec::new();
        for (turn, (rounds, tokens)) in turns.into_iter().enumerate() {
            let tools = std::iter::repeat_n(Kind::Tool, 2 * rounds);
            let kinds = std::iter::once(Kind::Question)
                .chain(tools)
                .chain([Kind::Answer]);
            let entries = kinds
                .zip(tokens)
                .map(|(kind, tokens)| (Entry { kind, tokens }, turn));
            said.extend(entries);
        }
        said.into_iter().skip(cut).unzip()
    })
}

proptest! {
    #[test]
    fn whatever_goes_fits_begins_with_a_question_and_splits_no_turn(
        (said, turns) in histories(),
        prompt_tokens in 0..20_000_u32, taken_tokens in 0..4_000_u32,
        recap in prop::option::of((0..60_u64, 1..2_000_u32)),
        turns_a_step in 1..4_u64,
    ) {
        let settings = Settings::default();
        let length = u64::try_from(said.len()).unwrap();
        let recent = &said[said.len().saturating_sub(10)..];
        let recap = recap.map(|(covers, tokens)| Recap { covers, tokens });
        let conversation = Conversation { length, recent, recap };
        let room = Room { prompt_tokens, taken_tokens };
        let Ok(window) = prune(&conversation, room, step(turns_a_step), &settings) else {
            prop_assert!(taken_tokens > prompt_tokens);
            return Ok(());
        };
        let kept = &recent[window.first..];
        let sum: u32 = kept.iter().map(|entry| entry.tokens.min(prompt_tokens / 2)).sum();
        let summary = recap.filter(|_| window.has_recap).map_or(0, |recap| recap.tokens);
        prop_assert!(taken_tokens + sum + summary <= prompt_tokens);
        prop_assert!(kept.first().is_none_or(|entry| entry.kind == Kind::Question));
        let from = said.len() - kept.len();
        let is_split = from > 0 && from < said.len() && turns[from - 1] == turns[from];
        prop_assert!(!is_split);
    }

    #[test]
    fn a_window_of_plain_turns_has_five_to_ten_messages_if_they_fit(
        turns in 6..200_u64, turns_a_step in 1..4_u64, covers in prop::option::of(0..400_u64),
    ) {
        let length = 2 * turns;
        let covers = covers.filter(|&covers| covers <= length && length > 20);
        let recap = covers.map(|covers| Recap { covers, tokens: 100 });
        prop_assert!((5..=10).contains(&sent(length, recap, step(turns_a_step))));
        let wanted = Settings::default().wanted(length, covers);
        prop_assert!(wanted.is_none_or(|upto| upto < length && length > 20));
    }

    #[test]
    fn a_window_moves_once_a_step_and_never_back(turns in 6..10_u64, turns_a_step in 1..4_u64) {
        let begins = |turns: u64| 2 * turns - u64::try_from(sent(2 * turns, None, step(turns_a_step))).unwrap();
        let moved = begins(turns + 1) - begins(turns);
        prop_assert!(moved == 0 || moved == 2 * turns_a_step);
    }

    #[test]
    fn a_shortened_text_has_no_more_bytes_than_tokens_are_left(text in ".{0,400}", prompt_tokens in 0..600_u32) {
        let room = Room { prompt_tokens, taken_tokens: 0 };
        let tokens = u32::try_from(text.len()).unwrap() + MESSAGE_TOKENS;
        let short = room.shortened(&text, tokens);
        let most = usize::try_from(prompt_tokens / 2).unwrap();
        prop_assert!(short.len() + 8 <= most.max(8));
    }
}
