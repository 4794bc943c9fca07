//! When streamed text is worth a frame.
//!
//! Every post costs money and a share of the account's request rate, every millisecond of waiting is
//! seen. The first text leaves at once; later frames wait longer the longer the answer gets, so that
//! 500 tokens at 50 a second go out in about 25 frames (R-CHAT-6).

use std::time::Duration;

/// Most text in one delta, in bytes.
///
/// 32 KiB is API Gateway's frame; JSON may spend six bytes on one (a control character as `\u0001`),
/// and the envelope takes less than 500.
pub const DELTA_BYTES_MAX: usize = 5_000;
const _: () = assert!(DELTA_BYTES_MAX * 6 + 500 < 32 * 1024);

/// Gathers pieces of an answer into deltas.
#[derive(Debug, Default)]
pub struct Coalescer {
    waiting: String,
    frames: u32,
}

impl Coalescer {
    /// Adds a piece.
    pub fn push(&mut self, text: &str) {
        self.waiting.push_str(text);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How long after the previous frame the next one should leave; `None` if nothing waits.
    pub fn wait(&self) -> Option<Duration> {
        if self.waiting.is_empty() {
            return None;
        }
        let grown_ms = 80 + 25 * u64::from(self.frames);
        let is_due = self.frames == 0 || self.waiting.len() >= DELTA_BYTES_MAX;
        Some(if is_due {
            Duration::ZERO
        } else {
            Duration::from_millis(grown_ms.min(600))
        })
    }

    /// Takes what waits, at most [`DELTA_BYTES_MAX`], cut between characters.
    pub fn take(&mut self) -> Option<String> {
        if self.waiting.is_empty() {
            return None;
        }
        self.frames = self.frames.saturating_add(1);
        let rest = self
            .waiting
            .split_off(self.waiting.floor_char_boundary(DELTA_BYTES_MAX));
        Some(std::mem::replace(&mut self.waiting, rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_text_leaves_at_once_and_the_next_waits() {
        let mut coalescer = Coalescer::default();
        assert_eq!(coalescer.wait(), None);
        coalescer.push("导");
        assert_eq!(coalescer.wait(), Some(Duration::ZERO));
        assert_eq!(coalescer.take().as_deref(), Some("导"));
        coalescer.push("数");
        assert_eq!(coalescer.wait(), Some(Duration::from_millis(105)));
    }

    #[test]
    fn five_hundred_tokens_at_fifty_a_second_leave_in_about_25_frames() {
        let mut coalescer = Coalescer::default();
        let (mut frames, mut last_ms) = (0, 0);
        for token in 1..=500u64 {
            coalescer.push("ab");
            let now_ms = token * 20;
            if coalescer
                .wait()
                .is_some_and(|wait| Duration::from_millis(now_ms - last_ms) >= wait)
            {
                coalescer.take();
                (frames, last_ms) = (frames + 1, now_ms);
            }
        }
        assert!((20..=30).contains(&frames), "{frames}");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_delta_is_too_long(pieces in prop::collection::vec(".{0,3000}", 0..8)) {
            let mut coalescer = Coalescer::default();
            let mut out = String::new();
            for piece in &pieces {
                coalescer.push(piece);
                if let Some(delta) = coalescer.take() {
                    prop_assert!(delta.len() <= DELTA_BYTES_MAX);
                    out.push_str(&delta);
                }
            }
            while let Some(delta) = coalescer.take() {
                prop_assert!(!delta.is_empty() && delta.len() <= DELTA_BYTES_MAX);
                out.push_str(&delta);
            }
            prop_assert_eq!(out, pieces.concat());
        }
    }
}
