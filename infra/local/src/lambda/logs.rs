//! Hides where a function's output goes: metrics documents to the metrics, every other line,
//! as it is, to the stack's standard error. The last lines are kept for error messages.

use std::{
    collections::VecDeque,
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::Child,
    task::JoinSet,
    time,
};

use crate::metrics::{Metrics, Recorded};

/// Longer lines are cut in pieces: the size of one log event of `CloudWatch`.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// How many lines an error message shows, and how much of each.
const LAST_LINES_MAX: usize = 10;
const LAST_LINE_CHARS_MAX: usize = 500;
/// How long a dead process's pipes are still read. A child of its own may hold them open.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

/// The output of one process.
#[derive(Debug)]
pub(super) struct Logs {
    readers: JoinSet<()>,
    last: Arc<Mutex<VecDeque<String>>>,
}

impl Logs {
    /// Takes both pipes of the process and reads them until they close.
    pub(super) fn follow(child: &mut Child, metrics: &Metrics) -> Logs {
        let mut logs = Logs {
            readers: JoinSet::new(),
            last: Arc::default(),
        };
        if let Some(pipe) = child.stdout.take() {
            logs.readers
                .spawn(read(pipe, metrics.clone(), Arc::clone(&logs.last)));
        }
        if let Some(pipe) = child.stderr.take() {
            logs.readers
                .spawn(read(pipe, metrics.clone(), Arc::clone(&logs.last)));
        }
        logs
    }

    /// Reads what the process left in its pipes and returns its last lines. Call it once the
    /// process has ended.
    pub(super) async fn finish(mut self) -> String {
        let drained = async { while self.readers.join_next().await.is_some() {} };
        if time::timeout(DRAIN_TIME_MAX, drained).await.is_err() {
            tracing::debug!("an ended function's pipes are still open");
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

async fn read<P: AsyncRead + Unpin>(pipe: P, metrics: Metrics, last: Arc<Mutex<VecDeque<String>>>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        let (taken, complete) = match pipe.fill_buf().await {
            Ok([]) => break,
            Ok(buffer) => take_line(buffer, &mut line),
            Err(error) => {
                tracing::debug!(%error, "a function's output ends with an error");
                break;
            }
        };
        pipe.consume(taken);
        if complete == Line::Complete {
            pass_on(&line, &metrics, &last);
            line.clear();
        }
    }
    if !line.is_empty() {
        pass_on(&line, &metrics, &last);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Complete,
    Partial,
}

/// Appends to `line` up to the next newline, or as much as one line may hold. Returns how many
/// bytes of the buffer were used, the newline among them.
fn take_line(buffer: &[u8], line: &mut Vec<u8>) -> (usize, Line) {
    let room = LINE_BYTES_MAX.saturating_sub(line.len());
    let newline = buffer.iter().position(|byte| *byte == b'\n');
    match newline {
        Some(end) if end <= room => {
            line.extend(buffer.iter().take(end));
            (end.saturating_add(1), Line::Complete)
        }
        _ if buffer.len() >= room => {
            line.extend(buffer.iter().take(room));
            (room, Line::Complete)
        }
        _ => {
            line.extend(buffer);
            (buffer.len(), Line::Partial)
        }
    }
}

fn pass_on(line: &[u8], metrics: &Metrics, last: &Mutex<VecDeque<String>>) {
    let text = String::from_utf8_lossy(line);
    if metrics.record_line(&text) == Recorded::Yes {
        return;
    }
    let mut whole = line.to_vec();
    whole.push(b'\n');
    if let Err(error) = std::io::stderr().lock().write_all(&whole) {
        tracing::debug!(%error, "a function's line is lost");
    }
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if last.len() == LAST_LINES_MAX {
        last.pop_front();
    }
    last.push_back(text.chars().take(LAST_LINE_CHARS_MAX).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(output: &[u8]) -> Vec<String> {
        let last = Arc::default();
        read(output, Metrics::default(), Arc::clone(&last)).await;
        last.lock().unwrap().iter().cloned().collect()
    }

    #[tokio::test]
    async fn the_last_ten_lines_are_kept_also_without_a_final_newline() {
        let output = (0..15)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join("\n");
        let kept = lines(output.as_bytes()).await;
        assert_eq!(kept, (5..15).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_metrics_document_is_not_a_log_line() {
        let emf = br#"{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Namespace":"n","Dimensions":[[]],"Metrics":[{"Name":"m","Unit":"Count"}]}]},"m":1}"#;
        let mut output = b"before\n".to_vec();
        output.extend(emf);
        output.extend(b"\nafter\n");
        assert_eq!(lines(&output).await, ["before", "after"]);
    }

    #[test]
    fn a_line_longer_than_the_limit_is_cut_in_pieces() {
        let mut line = vec![b'x'; LINE_BYTES_MAX - 1];
        assert_eq!(take_line(b"yz\n", &mut line), (1, Line::Complete));
        assert_eq!(line.len(), LINE_BYTES_MAX);
        line.clear();
        assert_eq!(take_line(b"z\nrest", &mut line), (2, Line::Complete));
        assert_eq!(line, b"z");
    }
}
