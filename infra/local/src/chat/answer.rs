//! An answer on its way: its frames in order, each once, whatever the connections do.
//!
//! Hides the two names of a request (`stream` and `request_id`), and what is to be asked when: the
//! question again until it is taken, then `resume`, then also `cancel`. It reads no clock and no socket.

use std::{collections::BTreeMap, mem, time::Duration};

use serde_json::{Value, json};
use uuid::Uuid;

/// Frames kept while an earlier one is missing; later ones are asked for again.
const HELD_FRAMES_MAX: usize = 1024;
/// The pause before asking again where the server names none.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What a frame means to an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// Nothing that could be shown.
    Nothing,
    /// These frames are next, in order; with none, the server says that it works on it.
    Frames(Vec<Value>),
    /// The server cannot say now; it may be asked again after this.
    Later(Duration),
}

/// A question and what came of its answer.
#[derive(Debug)]
pub(super) struct Answer {
    request_id: String,
    question: Value,
    /// The id of the last `resume`.
    resume_id: String,
    stream: Option<u64>,
    last_seq: u64,
    /// By stream and `seq`: frames after a gap, or that came before their stream was named.
    held: BTreeMap<(u64, u64), Value>,
    outgoing: Vec<Value>,
    questions: u32,
    is_taken: bool,
    is_cancelled: bool,
    is_over: bool,
}

impl Answer {
    /// The answer to `message`, to be asked for in the conversation `session`.
    pub(super) fn to(session: &str, message: &str) -> Self {
        Self {
            request_id: Uuid::new_v4().to_string(),
            question: json!({ "session_id": session, "message": message }),
            resume_id: String::new(),
            stream: None,
            last_seq: 0,
            held: BTreeMap::new(),
            outgoing: Vec::new(),
            questions: 0,
            is_taken: false,
            is_cancelled: false,
            is_over: false,
        }
    }

    /// The frames that are to be sent now; each is handed out once.
    pub(super) fn outgoing(&mut self) -> Vec<Value> {
        mem::take(&mut self.outgoing)
    }

    /// Whether its final frame or its refusal was heard.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether a frame is missing before one that is here.
    pub(super) fn has_gap(&self) -> bool {
        self.stream.is_some() && !self.held.is_empty()
    }

    /// Asks for all that is not here: on a new connection, after a silence, or because of a gap.
    pub(super) fn ask(&mut self) {
        self.outgoing.clear();
        if self.is_taken {
            self.resume();
            if self.is_cancelled {
                self.send_cancel();
            }
        } else {
            self.questions += 1;
            let question = request("chat", &self.request_id, &self.question);
            self.outgoing.push(question);
        }
    }

    /// Stops the answer, as soon as the server has the question. False if that is asked already.
    pub(super) fn cancel(&mut self) -> bool {
        if self.is_cancelled {
            return false;
        }
        self.is_cancelled = true;
        if self.is_taken {
            self.send_cancel();
        }
        true
    }

    /// Takes a frame of any kind, of this answer or not.
    pub(super) fn accept(&mut self, frame: Value) -> Heard {
        let word = |name: &str| frame.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| frame.get(name).and_then(Value::as_u64);
        let (kind, request_id) = (word("type"), word("request_id"));
        let names_us = request_id == self.request_id;
        let answers_resume = !request_id.is_empty() && request_id == self.resume_id;
        let (stream, seq) = (number("stream"), number("seq"));
        match (kind, seq) {
            ("ack", None) if names_us || answers_resume => {
                self.named(stream);
                self.taken();
                Heard::Frames(self.ready())
            }
            ("error", None) if names_us || answers_resume => self.refused(frame),
            (_, Some(seq)) => {
                if names_us {
                    self.named(stream);
                }
                self.hold(stream, seq, frame)
            }
            _ => Heard::Nothing,
        }
    }

    /// Learns what its stream is called, and forgets the frames of others.
    fn named(&mut self, stream: Option<u64>) {
        if let Some(ours) = stream {
            self.stream = Some(ours);
            self.held.retain(|&(stream, _), _| stream == ours);
        }
    }

    /// The server has the question; from here on it is not lost.
    fn taken(&mut self) {
        if !mem::replace(&mut self.is_taken, true) && self.is_cancelled {
            self.send_cancel();
        }
    }

    fn hold(&mut self, stream: Option<u64>, seq: u64, frame: Value) -> Heard {
        let Some(stream) = stream.filter(|&stream| self.stream.is_none_or(|ours| ours == stream))
        else {
            return Heard::Nothing;
        };
        let had_gap = self.has_gap();
        // The next one is taken however much waits for it.
        let is_next = seq == self.last_seq + 1;
        if is_next || (seq > self.last_seq && self.held.len() < HELD_FRAMES_MAX) {
            self.held.insert((stream, seq), frame);
        }
        if self.stream.is_none() {
            return Heard::Nothing;
        }
        let ready = self.ready();
        if self.has_gap() && !had_gap {
            self.ask();
        }
        if ready.is_empty() {
            Heard::Nothing
        } else {
            Heard::Frames(ready)
        }
    }

    /// The frames that follow the last one without a gap.
    fn ready(&mut self) -> Vec<Value> {
        let mut ready = Vec::new();
        while let Some(stream) = self.stream
            && let Some(frame) = self.held.remove(&(stream, self.last_seq + 1))
        {
            self.last_seq += 1;
            let kind = frame.get("type").and_then(Value::as_str);
            self.is_over |= matches!(kind, Some("done" | "error"));
            ready.push(frame);
        }
        if !ready.is_empty() {
            self.taken();
        }
        ready
    }

    /// A refusal ends the answer, unless it may be running: then only the asking was refused.
    fn refused(&mut self, frame: Value) -> Heard {
        let detail = |name: &str| frame.pointer(&format!("/payload/{name}"));
        let is_retryable = detail("retryable")
            .and_then(Value::as_bool)
            .unwrap_or_default();
        let pause = detail("retry_after_ms").and_then(Value::as_u64);
        let may_run = self.is_taken || self.questions > 1;
        if may_run && is_retryable {
            return Heard::Later(pause.map_or(RETRY_PAUSE, Duration::from_millis));
        }
        self.is_over = true;
        Heard::Frames(vec![frame])
    }

    fn resume(&mut self) {
        self.resume_id = Uuid::new_v4().to_string();
        let payload = json!({ "request_id": self.request_id, "after_seq": self.last_seq });
        let resume = request("resume", &self.resume_id, &payload);
        self.outgoing.push(resume);
    }

    fn send_cancel(&mut self) {
        let payload = json!({ "request_id": self.request_id });
        let cancel = request("cancel", &Uuid::new_v4().to_string(), &payload);
        self.outgoing.push(cancel);
    }
}

fn request(kind: &str, request_id: &str, payload: &Value) -> Value {
    json!({ "version": "2.0", "type": kind, "request_id": request_id, "payload": payload })
}

#[cfg(test)]
mod tests;
