//! Hides how Lambda sums up an invocation: the lines START, END and REPORT of its log, and its
//! words for an exit.

use std::{io, os::unix::process::ExitStatusExt as _, process::ExitStatus, time::Duration};

use rustix::process::{Pid, Signal};
use tokio::time::Instant;

use super::memory;

/// What there is to say of the invocation that runs in a process.
#[derive(Debug)]
pub(super) struct Report {
    pid: Option<Pid>,
    memory_mb: u32,
    request_id: String,
    began: Instant,
    /// Said with the first invocation only.
    pub(super) init_time: Option<Duration>,
}

impl Report {
    pub(super) fn new(pid: Option<Pid>, memory_mb: u32) -> Report {
        Report {
            pid,
            memory_mb,
            request_id: String::new(),
            began: Instant::now(),
            init_time: None,
        }
    }

    pub(super) fn begin(&mut self, request_id: &str) {
        request_id.clone_into(&mut self.request_id);
        self.began = Instant::now();
    }

    /// Says it in the stack's own log.
    pub(super) fn trace(&self, function: &str) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        tracing::debug!(
            function,
            request_id = self.request_id,
            duration_ms = self.began.elapsed().as_millis(),
            init_duration_ms = self.init_time.map(|time| time.as_millis()),
            memory_mb = self.memory_mb,
            max_memory_used_mb = self.pid.and_then(memory::peak_mb),
            "REPORT"
        );
    }

    pub(super) fn start_line(&self) -> String {
        format!("START RequestId: {} Version: $LATEST\n", self.request_id)
    }

    pub(super) fn end_lines(&self) -> String {
        let time = self.began.elapsed();
        let used_mb = self.pid.and_then(memory::peak_mb);
        let used = used_mb.map_or(String::new(), |mb| format!("\tMax Memory Used: {mb} MB"));
        let init = self.init_time.map_or(String::new(), |time| {
            format!("\tInit Duration: {} ms", milliseconds(time))
        });
        format!(
            "END RequestId: {id}\nREPORT RequestId: {id}\tDuration: {} ms\tBilled Duration: {} \
             ms\tMemory Size: {} MB{used}{init}\t\n",
            milliseconds(time),
            time.as_micros().div_ceil(1000),
            self.memory_mb,
            id = self.request_id,
        )
    }
}

/// Milliseconds with two digits behind the point.
fn milliseconds(time: Duration) -> String {
    let hundredths = time.as_micros() / 10;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// An exit in Lambda's words, after "Runtime exited".
pub(super) fn how(exit: &io::Result<ExitStatus>) -> String {
    match exit {
        Ok(status) if status.success() => "without providing a reason".to_owned(),
        Ok(status) => match status.code() {
            Some(code) => format!("with error: exit status {code}"),
            None => match status.signal().and_then(name_of_signal) {
                Some(name) => format!("with error: signal: {name}"),
                None => format!("with error: {status}"),
            },
        },
        Err(error) => format!("with error: {error}"),
    }
}

/// What Lambda's runtime, a Go program, calls the signals that end functions.
fn name_of_signal(number: i32) -> Option<&'static str> {
    let named = [
        (Signal::ABORT, "aborted"),
        (Signal::BUS, "bus error"),
        (Signal::ILL, "illegal instruction"),
        (Signal::KILL, "killed"),
        (Signal::SEGV, "segmentation fault"),
        (Signal::TERM, "terminated"),
    ];
    let found = named.iter().find(|(signal, _)| signal.as_raw() == number);
    found.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_by_a_signal_reads_as_lambdas_does() {
        let exit = |raw| how(&Ok(ExitStatus::from_raw(raw)));
        assert_eq!(exit(9), "with error: signal: killed");
        assert_eq!(exit(11), "with error: signal: segmentation fault");
        assert_eq!(exit(3 << 8), "with error: exit status 3");
        assert_eq!(exit(0), "without providing a reason");
    }

    #[test]
    fn milliseconds_have_two_digits_behind_the_point() {
        assert_eq!(milliseconds(Duration::from_micros(1_234)), "1.23");
        assert_eq!(milliseconds(Duration::from_micros(99)), "0.09");
        assert_eq!(milliseconds(Duration::from_secs(2)), "2000.00");
    }
}
