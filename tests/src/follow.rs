//! One stream as a learner follows it who does what it can to get the whole: asks, asks again, resumes.
//! A frame that is refused or contradicts another is an error at once; what merely strained the rules is
//! counted.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::{Client, request};

/// What is known of the stream that answers one request.
#[derive(Debug)]
pub struct Following {
    request_id: String,
    /// Of every frame that asks for it.
    asked_as: Vec<String>,
    stream: Option<u64>,
    frames: BTreeMap<u64, Value>,
    /// Payloads of all its acknowledgements.
    pub acks: Vec<Value>,
    /// Frames that came again, as they were.
    pub doubled: usize,
    /// Frames that came while one before them was missing.
    pub early: usize,
}

/// What a frame was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Took {
    /// An acknowledgement.
    Ack,
    /// A frame that was not known.
    New,
    /// A frame that was known.
    Known,
    /// Nothing of this stream.
    Foreign,
}

impl Following {
    /// The stream of this request, of which nothing is known.
    pub fn of(request_id: &str) -> Self {
        Self {
            request_id: request_id.to_owned(),
            asked_as: vec![request_id.to_owned()],
            stream: None,
            frames: BTreeMap::new(),
            acks: Vec::new(),
            doubled: 0,
            early: 0,
        }
    }

    /// Asks the question, or asks it again.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn chat(&self, client: &mut Client, session: &str, message: &str) -> Result<()> {
        let payload = json!({ "session_id": session, "message": message });
        client
            .send(request("chat", &self.request_id, payload))
            .await
    }

    /// Asks for what is missing. Returns the id of the frame.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn resume(&mut self, client: &mut Client) -> Result<String> {
        self.resume_after(client, self.contiguous()).await
    }

    /// Asks for what follows a frame. Returns the id of the frame that asks.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn resume_after(&mut self, client: &mut Client, after_seq: u64) -> Result<String> {
        let id = client.resume(&self.request_id, after_seq).await?;
        self.asked_as.push(id.clone());
        Ok(id)
    }

    /// Takes a frame, of this stream or not.
    ///
    /// # Errors
    /// It refuses the request, or says something else than a frame with its `seq` did before.
    pub fn take(&mut self, frame: &Value) -> Result<Took> {
        let names_it = self.asked_as.iter().any(|id| frame["request_id"] == **id);
        let stream = frame["stream"].as_u64();
        if !names_it && (stream.is_none() || stream != self.stream) {
            return Ok(Took::Foreign);
        }
        if frame["type"] == "ack" {
            self.stream = stream;
            self.acks.push(frame["payload"].clone());
            return Ok(Took::Ack);
        }
        let Some(seq) = frame["seq"].as_u64() else {
            bail!("{} is refused: {frame}", self.request_id)
        };
        self.stream = stream;
        if let Some(known) = self.frames.get(&seq) {
            ensure!(
                known == frame,
                "two frames have one place: {known}, {frame}"
            );
            self.doubled += 1;
            return Ok(Took::Known);
        }
        if seq != self.contiguous() + 1 {
            self.early += 1;
        }
        self.frames.insert(seq, frame.clone());
        Ok(Took::New)
    }

    /// Reads until the stream is over.
    ///
    /// # Errors
    /// The stream is refused, or nothing comes any more.
    pub async fn to_the_end(&mut self, client: &mut Client) -> Result<()> {
        while !self.is_over() {
            self.take(&client.frame().await?)?;
        }
        Ok(())
    }

    /// Reads until so many acknowledgements are there.
    ///
    /// # Errors
    /// The stream is refused, or nothing comes any more.
    pub async fn acknowledged(&mut self, client: &mut Client, times: usize) -> Result<&Value> {
        while self.acks.len() < times {
            self.take(&client.frame().await?)?;
        }
        Ok(&self.acks[times - 1])
    }

    /// Reads until so many frames of it are known.
    ///
    /// # Errors
    /// The stream is refused, or nothing comes any more.
    pub async fn grown(&mut self, client: &mut Client, frames: usize) -> Result<()> {
        while self.frames.len() < frames && !self.is_over() {
            self.take(&client.frame().await?)?;
        }
        Ok(())
    }

    /// Reads what else was on its way when this is called.
    ///
    /// # Errors
    /// Nothing comes any more.
    pub async fn settled(&mut self, client: &mut Client) -> Result<()> {
        let ping = client.request("ping", json!({})).await?;
        loop {
            let frame = client.frame().await?;
            if frame["request_id"] == ping {
                return Ok(());
            }
            self.take(&frame)?;
        }
    }

    /// The last frame before the first gap.
    pub fn contiguous(&self) -> u64 {
        let places = self.frames.keys().zip(1..);
        places.take_while(|(seq, place)| *seq == place).count() as u64
    }

    /// Whether its final frame and all before it are known.
    pub fn is_over(&self) -> bool {
        let last = self.frames.last_key_value();
        last.is_some_and(|(seq, frame)| {
            *seq == self.contiguous() && (frame["type"] == "done" || frame["type"] == "error")
        })
    }

    /// Its number on the wire, once it is known.
    pub fn number(&self) -> Option<u64> {
        self.stream
    }

    /// The frames, in order.
    pub fn frames(&self) -> impl Iterator<Item = &Value> {
        self.frames.values()
    }

    /// The final frame.
    pub fn last(&self) -> &Value {
        self.frames.values().next_back().unwrap_or(&Value::Null)
    }

    /// The text that is shown.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for frame in self.frames() {
            if frame["payload"]["restart"] == true {
                text.clear();
            }
            text.push_str(frame["payload"]["text"].as_str().unwrap_or_default());
        }
        text
    }

    /// How often the text began anew.
    pub fn restarts(&self) -> usize {
        let restarts = self
            .frames()
            .filter(|frame| frame["payload"]["restart"] == true);
        restarts.count()
    }
}
