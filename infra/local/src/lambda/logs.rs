//! Hides where a function's output goes: metrics documents to the metrics, every other line,
//! as it is, to the stack's standard error. The last lines are kept for error messages, and the
//! last bytes of one invocation for whoever asked for them.
//!
//! Nothing grows with what a function writes: long lines are cut, and of a flood only a part is
//! shown and the rest counted.

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    net::unix::pipe::Receiver,
    process::{Child, ChildStderr, ChildStdout},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{self, Instant},
};

use crate::metrics::{Metrics, Recorded};

/// Longer lines are cut in pieces: the size of one log event of `CloudWatch`.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// How many lines an error message shows, and how much of each.
const LAST_LINES_MAX: usize = 10;
const LAST_LINE_CHARS_MAX: usize = 500;
/// How long a dead process's pipes are still read. A child of its own may hold them open.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);
/// How much of an invocation's log its caller may have (Lambda API reference, `LogResult`).
pub(super) const TAIL_BYTES_MAX: usize = 4096;
/// How much of each pipe is shown in how long: more than anybody reads.
const SHOWN_BYTES_MAX: usize = 1024 * 1024;
const SHOWN_EVERY: Duration = Duration::from_secs(1);
/// What is read from a pipe at once.
const READ_BYTES: usize = 16 * 1024;
/// How often a pipe is read on end before it counts as read; a flood never ends.
const CATCH_UP_READS_MAX: usize = 64;

/// The output of one process.
#[derive(Debug)]
pub(super) struct Logs {
    readers: JoinSet<()>,
    kept: Arc<Mutex<Kept>>,
    catch_up: Vec<mpsc::Sender<oneshot::Sender<()>>>,
}

/// What is remembered of the output.
#[derive(Debug, Default)]
struct Kept {
    last: VecDeque<String>,
    /// The end of the log of the invocation that runs, if somebody wants it.
    tail: Option<Vec<u8>>,
}

impl Logs {
    /// Takes both pipes of the process and reads them until they close.
    pub(super) fn follow(child: &mut Child, function: &str, metrics: &Metrics) -> io::Result<Logs> {
        let mut logs = Logs {
            readers: JoinSet::new(),
            kept: Arc::default(),
            catch_up: Vec::new(),
        };
        let stdout = child.stdout.take().map(ChildStdout::into_owned_fd);
        let stderr = child.stderr.take().map(ChildStderr::into_owned_fd);
        for pipe in [stdout, stderr].into_iter().flatten() {
            let pipe = Receiver::from_owned_fd(pipe?)?;
            let (sender, requests) = mpsc::channel(1);
            let lines = Lines::new(function, metrics.clone(), Arc::clone(&logs.kept));
            logs.readers.spawn(read(pipe, lines, requests));
            logs.catch_up.push(sender);
        }
        Ok(logs)
    }

    /// From here on the end of the log is kept for the invocation's caller.
    pub(super) fn begin_tail(&self) {
        kept(&self.kept).tail = Some(Vec::new());
    }

    /// What the process has written since [`Logs::begin_tail`], at most the last 4 KB.
    pub(super) async fn end_tail(&self) -> Vec<u8> {
        for reader in &self.catch_up {
            let (caught_up, wait) = oneshot::channel();
            // A reader that has ended has read everything.
            if reader.send(caught_up).await.is_ok() {
                drop(wait.await);
            }
        }
        kept(&self.kept).tail.take().unwrap_or_default()
    }

    /// Reads what the process left in its pipes and returns its last lines. Call it once the
    /// process has ended.
    pub(super) async fn finish(mut self) -> String {
        let drained = async { while self.readers.join_next().await.is_some() {} };
        if time::timeout(DRAIN_TIME_MAX, drained).await.is_err() {
            tracing::debug!("an ended function's pipes are still open");
        }
        let kept = kept(&self.kept);
        let last: Vec<&str> = kept.last.iter().map(String::as_str).collect();
        last.join("\n")
    }
}

fn kept(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(pipe: Receiver, mut lines: Lines, mut requests: mpsc::Receiver<oneshot::Sender<()>>) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let flood_ends = lines.unsaid.then_some(lines.window_end);
        let read = tokio::select! {
            Some(caught_up) = requests.recv() => {
                let mut read = Ok(0);
                for _ in 0..CATCH_UP_READS_MAX {
                    read = pipe.try_read(&mut buffer);
                    match &read {
                        Ok(count @ 1..) => lines.take(buffer.get(..*count).unwrap_or_default()),
                        Ok(0) | Err(_) => break,
                    }
                }
                if caught_up.send(()).is_err() {
                    tracing::debug!("nobody waits for this log any more");
                }
                match read {
                    Ok(1..) => continue,
                    read => read,
                }
            }
            ready = pipe.readable() => ready.and_then(|()| pipe.try_read(&mut buffer)),
            () = time::sleep_until(flood_ends.unwrap_or_else(Instant::now)), if flood_ends.is_some() => {
                lines.say_what_was_dropped();
                continue;
            }
        };
        match read {
            Ok(0) => break,
            Ok(count) => lines.take(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::debug!(%error, "a function's output ends with an error");
                break;
            }
        }
    }
    lines.end();
}

/// The lines of one pipe.
struct Lines {
    function: String,
    metrics: Metrics,
    kept: Arc<Mutex<Kept>>,
    line: Vec<u8>,
    window_end: Instant,
    shown_bytes: usize,
    dropped_lines: u64,
    dropped_bytes: usize,
    /// Whether lines were dropped that nobody was told of.
    unsaid: bool,
}

impl Lines {
    fn new(function: &str, metrics: Metrics, kept: Arc<Mutex<Kept>>) -> Lines {
        Lines {
            function: function.to_owned(),
            metrics,
            kept,
            line: Vec::new(),
            window_end: Instant::now() + SHOWN_EVERY,
            shown_bytes: 0,
            dropped_lines: 0,
            dropped_bytes: 0,
            unsaid: false,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (taken, complete) = take_line(bytes, &mut self.line);
            bytes = bytes.get(taken..).unwrap_or_default();
            if complete == Line::Complete {
                self.pass_on();
            }
        }
    }

    fn end(&mut self) {
        if !self.line.is_empty() {
            self.pass_on();
        }
        self.say_what_was_dropped();
    }

    fn pass_on(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        line.push(b'\n');
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\n');
        {
            let mut kept = kept(&self.kept);
            if let Some(tail) = &mut kept.tail {
                keep_end(tail, &line);
            }
        }
        if self.metrics.record_line(text) == Recorded::No {
            let shortened: String = text.chars().take(LAST_LINE_CHARS_MAX).collect();
            {
                let mut kept = kept(&self.kept);
                if kept.last.len() == LAST_LINES_MAX {
                    kept.last.pop_front();
                }
                kept.last.push_back(shortened);
            }
            self.show(&line);
        }
        line.clear();
        self.line = line;
    }

    fn show(&mut self, line: &[u8]) {
        if Instant::now() >= self.window_end {
            self.say_what_was_dropped();
            self.window_end = Instant::now() + SHOWN_EVERY;
            self.shown_bytes = 0;
        }
        let shown_bytes = self.shown_bytes.saturating_add(line.len());
        if shown_bytes > SHOWN_BYTES_MAX {
            self.dropped_lines = self.dropped_lines.saturating_add(1);
            self.dropped_bytes = self.dropped_bytes.saturating_add(line.len());
            self.unsaid = true;
            return;
        }
        self.shown_bytes = shown_bytes;
        if let Err(error) = io::stderr().lock().write_all(line) {
            tracing::debug!(%error, "a function's line is lost");
        }
    }

    fn say_what_was_dropped(&mut self) {
        if self.unsaid {
            tracing::warn!(
                function = self.function,
                lines = self.dropped_lines,
                bytes = self.dropped_bytes,
                "a function floods its log; these lines are not shown"
            );
        }
        (self.dropped_lines, self.dropped_bytes) = (0, 0);
        self.unsaid = false;
    }
}

/// Appends to what is kept of a log, and drops its beginning if it becomes too long.
pub(super) fn keep_end(tail: &mut Vec<u8>, more: &[u8]) {
    let more = more
        .get(more.len().saturating_sub(TAIL_BYTES_MAX)..)
        .unwrap_or_default();
    let total = tail.len().saturating_add(more.len());
    let surplus = total.saturating_sub(TAIL_BYTES_MAX);
    tail.drain(..surplus.min(tail.len()));
    tail.extend_from_slice(more);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Lines {
        Lines::new("f", Metrics::default(), Arc::default())
    }

    fn last(output: &[u8]) -> Vec<String> {
        let mut lines = lines();
        // In chunks, as a pipe gives them.
        output.chunks(7).for_each(|chunk| lines.take(chunk));
        lines.end();
        kept(&lines.kept).last.iter().cloned().collect()
    }

    #[tokio::test]
    async fn the_last_ten_lines_are_kept_also_without_a_final_newline() {
        let output = (0..15)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join("\n");
        let kept = last(output.as_bytes());
        assert_eq!(kept, (5..15).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_metrics_document_is_not_a_log_line() {
        let emf = br#"{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Namespace":"n","Dimensions":[[]],"Metrics":[{"Name":"m","Unit":"Count"}]}]},"m":1}"#;
        let mut output = b"before\n".to_vec();
        output.extend(emf);
        output.extend(b"\nafter\n");
        assert_eq!(last(&output), ["before", "after"]);
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

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_and_what_comes_later_is_shown_again() {
        let mut lines = lines();
        lines.shown_bytes = SHOWN_BYTES_MAX;
        lines.show(b"one too many\n");
        lines.show(b"and another\n");
        assert_eq!((lines.dropped_lines, lines.dropped_bytes), (2, 25));
        time::advance(SHOWN_EVERY).await;
        lines.show(b"later\n");
        assert_eq!((lines.dropped_lines, lines.shown_bytes), (0, 6));
    }

    #[test]
    fn only_the_end_of_a_log_is_kept_for_the_caller() {
        let mut tail = Vec::new();
        keep_end(&mut tail, b"begin\n");
        keep_end(&mut tail, &[b'x'; TAIL_BYTES_MAX - 2]);
        assert_eq!(tail.len(), TAIL_BYTES_MAX);
        assert!(tail.starts_with(b"n\nx"));
        keep_end(&mut tail, &[b'y'; 2 * TAIL_BYTES_MAX]);
        assert_eq!(tail, [b'y'; TAIL_BYTES_MAX]);
    }
}
