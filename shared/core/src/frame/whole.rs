//! A stream's last frames, and an answer that is there at once as the deltas that show it.

use super::{Body, ServerFrame, TurnJob};
use crate::unit::Timestamp;

/// Most bytes of a delta of an answer that is there at once: far below what one post takes.
const DELTA_BYTES_MAX: usize = 16 * 1024;

/// The deltas that show an answer after another attempt has shown a part of one.
pub fn deltas(answer: &str, shown: &str) -> Vec<Body> {
    let (mut rest, mut restart) = match answer.strip_prefix(shown) {
        Some(rest) => (rest, false),
        None => (answer, true),
    };
    let mut deltas = Vec::new();
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(rest.floor_char_boundary(DELTA_BYTES_MAX));
        deltas.push(Body::Delta {
            text: piece.to_owned(),
            restart,
        });
        (rest, restart) = (left, false);
    }
    deltas
}

/// The frames that end a turn's stream after frame `last_seq`; the final one names its request.
pub fn last_frames(
    turn: &TurnJob,
    last_seq: u32,
    bodies: Vec<Body>,
    at: Timestamp,
) -> Vec<ServerFrame> {
    let last = bodies.len();
    let numbered = (1..).zip((last_seq + 1..).zip(bodies));
    let frames = numbered.map(|(place, (seq, body))| ServerFrame {
        timestamp: matches!(body, Body::Done(_)).then_some(at),
        request_id: (seq == 1 || place == last).then(|| turn.request_id.clone()),
        trace_id: None,
        seq: Some(seq),
        stream: Some(turn.stream()),
        body,
    });
    frames.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(deltas: &[Body], before: &str) -> String {
        let mut shown = before.to_owned();
        for delta in deltas {
            if let Body::Delta { text, restart } = delta {
                if *restart {
                    shown.clear();
                }
                shown.push_str(text);
            }
        }
        shown
    }

    #[test]
    fn deltas_show_the_answer_whatever_was_shown_before() {
        let answer = "导".repeat(20_000);
        for before in ["", "导导", "数", &answer] {
            let deltas = deltas(&answer, before);
            assert_eq!(shown(&deltas, before), answer);
            let longest = deltas.iter().map(|delta| match delta {
                Body::Delta { text, .. } => text.len(),
                _ => 0,
            });
            assert!(longest.max().unwrap_or(0) <= DELTA_BYTES_MAX);
        }
    }
}
