//! An answer that comes over several connections: what each of them carried, and what that makes together.
//!
//! Where [`Client::answer`](crate::Client::answer) fails at once, this notes: a frame that is missing, came
//! twice or out of order on its connection, or differs from what another connection carried.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{Answer, Client};

/// What a connection did with a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// The `seq`s in the order in which they came.
    pub seqs: Vec<u64>,
    /// Its `ack`s of the request and of its resumption.
    pub acks: Vec<Value>,
}

impl Carried {
    /// Frames that this connection carried before.
    pub fn doubled(&self) -> usize {
        let mut seqs = self.seqs.clone();
        seqs.sort_unstable();
        seqs.dedup();
        self.seqs.len() - seqs.len()
    }

    /// Frames that came after a later one, for the first time.
    pub fn reordered(&self) -> usize {
        let is_late = |(at, seq): (usize, &u64)| {
            let before = &self.seqs[..at];
            !before.contains(seq) && before.iter().any(|earlier| earlier > seq)
        };
        self.seqs
            .iter()
            .enumerate()
            .filter(|&each| is_late(each))
            .count()
    }

    /// Whether each frame came once and next to the one before it.
    pub fn is_smooth(&self) -> bool {
        self.seqs.windows(2).all(|pair| pair[0] + 1 == pair[1])
    }
}

/// The stream of one `chat`.
#[derive(Debug)]
pub struct Stream {
    request_id: String,
    /// Requests whose `ack` names this stream: the `chat` itself and each `resume`.
    askers: Vec<String>,
    stream: Option<u64>,
    frames: BTreeMap<u64, Value>,
    /// Frames of streams not yet known to be this one, with their connection.
    unnamed: Vec<(usize, Value)>,
    connections: Vec<Carried>,
    contradictions: Vec<[Value; 2]>,
    refusal: Option<Value>,
}

impl Stream {
    /// The stream of the request with that id.
    pub fn of(request_id: impl Into<String>) -> Self {
        let request_id = request_id.into();
        Self {
            askers: vec![request_id.clone()],
            request_id,
            stream: None,
            frames: BTreeMap::new(),
            unnamed: Vec::new(),
            connections: Vec::new(),
            contradictions: Vec::new(),
            refusal: None,
        }
    }

    /// From now on another connection carries frames too; its number is for [`accept`](Self::accept).
    pub fn connected(&mut self) -> usize {
        self.connections.push(Carried::default());
        self.connections.len() - 1
    }

    /// Takes any frame of a connection; what belongs to others is passed over.
    pub fn accept(&mut self, connection: usize, frame: Value) {
        let names_us = self
            .askers
            .iter()
            .any(|id| frame["request_id"] == id.as_str());
        let (stream, seq) = (frame["stream"].as_u64(), frame["seq"].as_u64());
        if names_us && stream.is_some() {
            self.stream = stream;
            for (connection, earlier) in std::mem::take(&mut self.unnamed) {
                self.keep(connection, earlier);
            }
        }
        match seq {
            Some(_) if self.stream.is_none() => self.unnamed.push((connection, frame)),
            Some(_) => self.keep(connection, frame),
            None if names_us && frame["type"] == "ack" => {
                let carried = &mut self.connections[connection];
                carried.acks.push(frame["payload"].clone());
            }
            None if names_us && frame["type"] == "error" => self.refusal = Some(frame),
            None => {}
        }
    }

    /// Keeps a frame if it is of this stream.
    fn keep(&mut self, connection: usize, frame: Value) {
        let Some(seq) = frame["seq"].as_u64() else {
            return;
        };
        if frame["stream"].as_u64() != self.stream {
            return;
        }
        self.connections[connection].seqs.push(seq);
        match self.frames.get(&seq) {
            Some(known) if *known != frame => self.contradictions.push([known.clone(), frame]),
            Some(_) => {}
            None => drop(self.frames.insert(seq, frame)),
        }
    }

    /// The last `seq` before which nothing is missing: what `resume` asks after.
    pub fn last_seq(&self) -> u64 {
        (1..)
            .take_while(|seq| self.frames.contains_key(seq))
            .last()
            .unwrap_or(0)
    }

    /// The `seq`s that are missing before one that is here.
    pub fn gaps(&self) -> Vec<u64> {
        let last = self.frames.keys().next_back().copied().unwrap_or(0);
        (1..last)
            .filter(|seq| !self.frames.contains_key(seq))
            .collect()
    }

    /// Frames that were not the same on every connection.
    pub fn contradictions(&self) -> &[[Value; 2]] {
        &self.contradictions
    }

    /// What each connection carried.
    pub fn connections(&self) -> &[Carried] {
        &self.connections
    }

    /// The last refusal of the request or of a `resume`.
    pub fn refusal(&self) -> Option<&Value> {
        self.refusal.as_ref()
    }

    /// Whether every frame is here, up to the final one.
    pub fn is_over(&self) -> bool {
        let last = self.frames.values().next_back();
        self.gaps().is_empty()
            && last.is_some_and(|last| last["type"] == "done" || last["type"] == "error")
    }

    /// Asks on another connection for what is not here, and returns that connection's number.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn resume(&mut self, client: &mut Client) -> Result<usize> {
        let id = client.resume(&self.request_id, self.last_seq()).await?;
        self.askers.push(id);
        Ok(self.connected())
    }

    /// Reads a connection until the stream has this many frames or is over.
    ///
    /// # Errors
    /// The connection was closed or cut, nothing came, or the request was refused.
    pub async fn read(
        &mut self,
        connection: usize,
        client: &mut Client,
        frames: usize,
    ) -> Result<()> {
        while self.frames.len() < frames && !self.is_over() {
            self.accept(connection, client.frame().await?);
            ensure!(self.refusal.is_none(), "refused: {:?}", self.refusal);
        }
        Ok(())
    }

    /// The whole answer.
    ///
    /// # Errors
    /// It is not whole, was not acknowledged, or connections contradict each other.
    pub fn answer(self) -> Result<Answer> {
        ensure!(
            self.is_over(),
            "not over, {:?} missing: {:?}",
            self.gaps(),
            self.frames
        );
        ensure!(self.contradictions.is_empty(), "{:?}", self.contradictions);
        let ack = self
            .connections
            .iter()
            .find_map(|carried| carried.acks.first());
        let ack = ack.cloned().unwrap_or_default();
        ensure!(!ack.is_null(), "no ack");
        let answer = Answer::of(ack, self.frames.into_values().collect());
        ensure!(
            answer.last()["request_id"] == self.request_id.as_str(),
            "the final frame names no request"
        );
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frame(seq: u64, kind: &str, text: &str) -> Value {
        let mut frame =
            json!({ "type": kind, "stream": 7, "seq": seq, "payload": { "text": text } });
        if seq == 1 || kind == "done" {
            frame["request_id"] = json!("r");
        }
        frame
    }

    fn ack() -> Value {
        json!({ "type": "ack", "request_id": "r", "stream": 7, "payload": { "session_id": "s" } })
    }

    #[test]
    fn what_connections_carry_is_joined_and_told() -> Result<()> {
        let mut stream = Stream::of("r");
        let (first, second) = (stream.connected(), stream.connected());
        for given in [
            frame(2, "delta", "b"),
            frame(1, "delta", "a"),
            ack(),
            frame(2, "delta", "b"),
        ] {
            stream.accept(first, given);
        }
        assert_eq!((stream.last_seq(), stream.gaps()), (2, vec![]));
        for given in [
            frame(2, "delta", "b"),
            frame(4, "done", ""),
            json!({ "type": "pong" }),
        ] {
            stream.accept(second, given);
        }
        assert_eq!(
            (stream.last_seq(), stream.gaps(), stream.is_over()),
            (2, vec![3], false)
        );
        stream.accept(second, frame(3, "delta", "c"));
        let [one, two] = stream.connections() else {
            panic!("{stream:?}")
        };
        assert_eq!(
            (one.doubled(), one.reordered(), one.is_smooth()),
            (1, 1, false)
        );
        assert_eq!(
            (two.doubled(), two.reordered(), two.is_smooth()),
            (0, 1, false)
        );
        assert_eq!(stream.answer()?.text, "abc");
        Ok(())
    }

    #[test]
    fn connections_that_contradict_each_other_are_no_answer() {
        let mut stream = Stream::of("r");
        let connection = stream.connected();
        for given in [
            ack(),
            frame(1, "delta", "a"),
            frame(1, "delta", "b"),
            frame(2, "done", ""),
        ] {
            stream.accept(connection, given);
        }
        assert_eq!(stream.contradictions().len(), 1);
        assert!(stream.answer().is_err());
    }

    #[test]
    fn a_restart_discards_the_text_before_it() -> Result<()> {
        let mut stream = Stream::of("r");
        let connection = stream.connected();
        let mut restart = frame(2, "delta", "b");
        restart["payload"]["restart"] = json!(true);
        for given in [frame(1, "delta", "a"), restart, frame(3, "done", ""), ack()] {
            stream.accept(connection, given);
        }
        assert_eq!(stream.answer()?.text, "b");
        Ok(())
    }
}
