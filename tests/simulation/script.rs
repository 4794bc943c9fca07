//! What the offline model is asked, and what it answers.

use std::{sync::OnceLock, time::Duration};

use fastrand::Rng;
use futures_util::FutureExt as _;
use sparkle_llm::{Heard, Llm, Message, Prompt, offline};

/// How often a model that fails does so.
const FAILS_PERCENT: u32 = 4;
/// How often a model says something else when it is asked again.
const DRIFTS_PERCENT: u32 = 40;

/// A question that stands by itself, so that its answer is kept.
const QUESTION: &str = "什么是光合作用？";

/// One answer to come.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// The model is told what to say: nothing of that is ever kept.
    Told(offline::Script),
    /// It is asked [`QUESTION`], to which it says the same each time.
    Asked,
}

/// What the model says to [`QUESTION`].
pub(crate) fn lesson() -> &'static str {
    static LESSON: OnceLock<String> = OnceLock::new();
    LESSON.get_or_init(|| {
        let llm = Llm::Offline(offline::Tutor::new().paced(Duration::ZERO));
        let prompt = Prompt::new("m", vec![Message::user(QUESTION)], 4_096);
        let mut heard = Heard::default();
        // It never waits, so there is nothing to wait for.
        let listened = heard.listen(&llm, &prompt).now_or_never();
        listened.unwrap().unwrap();
        heard.text
    })
}

impl Script {
    /// An answer of some length and pace.
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let words = [
            "导数",
            "是",
            "变化率",
            "。",
            " slope",
            " of",
            " the",
            " line",
            "\n",
            "é",
            "🙂",
            " 2",
        ];
        let most = if rng.u32(0..10) == 0 { 120 } else { 30 };
        let count = rng.usize(1..most);
        let piece = |number: usize, rng: &mut Rng| {
            // Each piece is itself and no other, so that a doubled one cannot hide.
            format!("{}{number}", words[rng.usize(0..words.len())])
        };
        let pieces: Vec<String> = (0..count).map(|number| piece(number, rng)).collect();
        let open_pause_ms = if rng.u32(0..6) == 0 {
            rng.u64(1_000..10_000)
        } else {
            rng.u64(0..600)
        };
        // An answer lasts some seconds, or half a minute.
        let span_ms = if rng.u32(0..8) == 0 { 30_000 } else { 3_000 };
        let pause_ms = rng.u64(0..=span_ms) / u64::try_from(count).unwrap();
        let fails = rng.u32(0..100) < FAILS_PERCENT;
        Self::Told(offline::Script {
            fail_after: if fails { rng.usize(0..pieces.len()) } else { 0 },
            fail: fails.then_some(offline::Failure::Unavailable),
            drifts_from: (rng.u32(0..100) < DRIFTS_PERCENT).then(|| rng.usize(0..=pieces.len())),
            pieces,
            pause_ms,
            open_pause_ms,
            ..offline::Script::default()
        })
    }

    /// An answer for a run of one turn: several frames, in order.
    pub(crate) fn plain() -> Self {
        Self::Told(offline::Script {
            pieces: (0..12).map(|number| format!("导数 {number} ")).collect(),
            pause_ms: 120,
            ..offline::Script::default()
        })
    }

    /// A longer one, whose second half is another each time.
    pub(crate) fn drifting() -> Self {
        Self::Told(offline::Script {
            pieces: (0..40).map(|number| format!("导数 {number} ")).collect(),
            pause_ms: 120,
            drifts_from: Some(20),
            ..offline::Script::default()
        })
    }

    pub(crate) fn message(&self) -> String {
        match self {
            Self::Told(script) => script.message(),
            Self::Asked => QUESTION.to_owned(),
        }
    }

    /// The whole answer, as the call gave it that this text is of.
    pub(crate) fn whole(&self, text: &str) -> String {
        let Self::Told(script) = self else {
            return lesson().to_owned();
        };
        let drawn = text.split('~').nth(1).unwrap_or_default();
        let from = script.drifts_from.unwrap_or(usize::MAX);
        let pieces = script.pieces.iter().enumerate();
        let said = pieces.map(|(place, piece)| {
            let is_drifted = place >= from;
            let drawn = if is_drifted {
                format!("~{drawn}~")
            } else {
                String::new()
            };
            format!("{piece}{drawn}")
        });
        said.collect()
    }

    pub(crate) fn fails(&self) -> bool {
        matches!(self, Self::Told(script) if script.fail.is_some())
    }
}
