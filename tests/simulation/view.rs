//! A stream as one device has seen it.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a frame was to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Not seen before.
    New,
    /// Seen before, and the same.
    Double,
    /// New, but a frame before it is missing.
    Early,
    /// Its place was taken by another frame.
    Changed,
    /// Its place is behind the end.
    AfterEnd,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With `done` and this reason.
    Done(String),
    /// With `error` and this code.
    Error(String),
}

/// The frames of one stream, by their place.
#[derive(Debug, Default)]
pub(crate) struct View {
    frames: BTreeMap<u32, (String, Value)>,
    contiguous: u32,
    last: Option<u32>,
}

impl View {
    /// Takes a frame in.
    pub(crate) fn take(&mut self, _connection: &str, seq: u32, frame: &Value) -> Seen {
        let kind = frame["type"].as_str().unwrap_or_default().to_owned();
        let payload = frame["payload"].clone();
        if let Some((known_kind, known)) = self.frames.get(&seq) {
            let is_same = *known_kind == kind && *known == payload;
            return if is_same { Seen::Double } else { Seen::Changed };
        }
        if self.last.is_some_and(|last| seq > last) {
            return Seen::AfterEnd;
        }
        if kind == "done" || kind == "error" {
            if self
                .frames
                .keys()
                .next_back()
                .is_some_and(|&known| known > seq)
            {
                return Seen::AfterEnd;
            }
            self.last = Some(seq);
        }
        self.frames.insert(seq, (kind, payload));
        let is_early = seq > self.contiguous + 1;
        while self.frames.contains_key(&(self.contiguous + 1)) {
            self.contiguous += 1;
        }
        if is_early { Seen::Early } else { Seen::New }
    }

    /// The last frame before the first that is missing.
    pub(crate) fn contiguous(&self) -> u32 {
        self.contiguous
    }

    pub(crate) fn has_gap(&self) -> bool {
        usize::try_from(self.contiguous).unwrap() < self.frames.len()
    }

    /// Whether every frame up to the final one is here.
    pub(crate) fn is_complete(&self) -> bool {
        self.last.is_some_and(|last| last == self.contiguous)
    }

    pub(crate) fn end(&self) -> Option<End> {
        let (kind, payload) = self.frames.get(&self.last?)?;
        let word = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
        Some(match kind.as_str() {
            "done" => End::Done(word("finish_reason")),
            _ => End::Error(word("code")),
        })
    }

    /// What the learner reads, and how often it began anew.
    pub(crate) fn text(&self) -> (String, u32) {
        let (mut text, mut restarts) = (String::new(), 0);
        for (kind, payload) in self.frames.values() {
            if kind != "delta" {
                continue;
            }
            if payload["restart"] == true {
                text.clear();
                restarts += 1;
            }
            text.push_str(payload["text"].as_str().unwrap_or_default());
        }
        (text, restarts)
    }

    /// Every frame, for comparing.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (&u32, &(String, Value))> {
        self.frames.iter()
    }
}
