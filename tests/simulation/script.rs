//! What the offline model is told to answer.

use fastrand::Rng;
use sparkle_llm::offline;

/// How often a model that fails does so.
const FAILS_PERCENT: u32 = 4;

/// One answer to come.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    script: offline::Script,
}

impl Script {
    /// An answer of some length and pace.
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let words = [
            "导数", "是", "变化率", "。", " slope", " of", " the", " line", "\n", "é", "🙂", " 2",
        ];
        let most = if rng.u32(0..10) == 0 { 120 } else { 30 };
        let count = rng.usize(1..most);
        let piece = |number: usize, rng: &mut Rng| {
            // Each piece is itself and no other, so that a doubled one cannot hide.
            format!("{}{number}", words[rng.usize(0..words.len())])
        };
        let pieces: Vec<String> = (0..count).map(|number| piece(number, rng)).collect();
        let open_pause_ms = if rng.u32(0..6) == 0 {
            rng.u64(1_000..15_000)
        } else {
            rng.u64(0..600)
        };
        let pause_ms = match rng.u32(0..10) {
            0 => rng.u64(500..3_000),
            _ => rng.u64(0..150),
        };
        let fails = rng.u32(0..100) < FAILS_PERCENT;
        Self {
            script: offline::Script {
                fail_after: if fails { rng.usize(0..pieces.len()) } else { 0 },
                fail: fails.then_some(offline::Failure::Unavailable),
                pieces,
                pause_ms,
                open_pause_ms,
                ..offline::Script::default()
            },
        }
    }

    /// An answer for a run of one turn: several frames, in order.
    pub(crate) fn plain() -> Self {
        Self {
            script: offline::Script {
                pieces: (0..12).map(|number| format!("导数 {number} ")).collect(),
                pause_ms: 120,
                ..offline::Script::default()
            },
        }
    }

    pub(crate) fn message(&self) -> String {
        self.script.message()
    }

    /// The whole answer.
    pub(crate) fn text(&self) -> String {
        self.script.pieces.concat()
    }

    pub(crate) fn fails(&self) -> bool {
        self.script.fail.is_some()
    }
}
