//! Hides the wording of Lambda's errors: what callers match on, and the JSON that Lambda answers.

use std::{io, time::Duration};

use bytes::Bytes;
use serde_json::json;

use super::runtime_api::RESPONSE_BYTES_MAX;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LambdaError {
    /// A function has no binary.
    #[error("no binary of function {function} at {path}; build it with `cargo build`")]
    NoBinary {
        /// The function's name.
        function: String,
        /// Where it was looked for.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Two functions have one name.
    #[error("two functions are named {function}; rename the folder of one of them")]
    DuplicateFunction {
        /// The name.
        function: String,
    },
    /// The process group of the functions cannot be made.
    #[error("cannot start the functions' process group; is there a /bin/sh?")]
    Group {
        /// What the system said.
        source: io::Error,
    },
}

/// Why an invocation has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// No function has this name.
    #[error("function not found: {function}")]
    NotFound {
        /// The name asked for.
        function: String,
    },
    /// The event is larger than Lambda takes.
    #[error("event of {bytes} bytes for {function}, lambda takes {bytes_max}")]
    EventTooLarge {
        /// The function's name.
        function: String,
        /// The event's size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Every instance is busy and no more may start, or too many callers wait already.
    #[error("rate exceeded: {function} is at its concurrency limit")]
    Throttled {
        /// The function's name.
        function: String,
    },
    /// The function answered with an error.
    #[error(
        "{function} answered with an error: {}",
        String::from_utf8_lossy(payload)
    )]
    Failed {
        /// The function's name.
        function: String,
        /// `{"errorType":…,"errorMessage":…}` as the function said it.
        payload: Bytes,
    },
    /// The function ran into its timeout and was killed.
    #[error("{function}: task timed out after {:.2} seconds", timeout.as_secs_f64())]
    TimedOut {
        /// The function's name.
        function: String,
        /// The invocation.
        request_id: String,
        /// The function's timeout.
        timeout: Duration,
    },
    /// The process ended during the invocation.
    #[error("{function}: runtime exited {how}\n{log}")]
    Crashed {
        /// The function's name.
        function: String,
        /// The invocation.
        request_id: String,
        /// Such as `with error: exit status 1`.
        how: String,
        /// The last lines that the process wrote.
        log: String,
    },
    /// The process used more memory than the function has, and was killed.
    #[error(
        "{function}: out of memory: it used {used_mb} MB of its {memory_mb} MB; raise its MemorySize"
    )]
    OutOfMemory {
        /// The function's name.
        function: String,
        /// The invocation.
        request_id: String,
        /// `MemorySize`.
        memory_mb: u32,
        /// What was seen.
        used_mb: u64,
    },
    /// No instance could start.
    #[error("{function} does not start: {reason}\n{log}")]
    InitFailed {
        /// The function's name.
        function: String,
        /// What went wrong.
        reason: String,
        /// The last lines that the process wrote.
        log: String,
    },
    /// The answer is larger than Lambda returns.
    #[error("{function}: the response is over {RESPONSE_BYTES_MAX} bytes")]
    ResponseTooLarge {
        /// The function's name.
        function: String,
    },
    /// The service is going down, and the invocation may not have run to its end.
    #[error("the lambda service is shutting down")]
    ShuttingDown,
}

impl InvokeError {
    /// What Lambda answers with status 200 and `X-Amz-Function-Error: Unhandled` when the
    /// function is at fault: `{"errorType":…,"errorMessage":…}`. None when the caller or the
    /// service is.
    pub fn payload(&self) -> Option<Bytes> {
        let (kind, message) = match self {
            InvokeError::Failed { payload, .. } => return Some(payload.clone()),
            InvokeError::TimedOut {
                request_id,
                timeout,
                ..
            } => {
                let timeout_s = timeout.as_secs_f64();
                let message = format!("Task timed out after {timeout_s:.2} seconds");
                (
                    "Sandbox.Timedout",
                    format!("RequestId: {request_id} Error: {message}"),
                )
            }
            InvokeError::Crashed {
                request_id, how, ..
            } => {
                let message = format!("RequestId: {request_id} Error: Runtime exited {how}");
                ("Runtime.ExitError", message)
            }
            InvokeError::OutOfMemory { request_id, .. } => (
                "Runtime.OutOfMemory",
                format!("RequestId: {request_id} Error: Runtime exited with error: signal: killed"),
            ),
            InvokeError::InitFailed { .. } => ("Runtime.InitError", self.to_string()),
            InvokeError::ResponseTooLarge { .. } => (
                "Function.ResponseSizeTooLarge",
                format!(
                    "Response payload size exceeded maximum allowed payload size \
                     ({RESPONSE_BYTES_MAX} bytes)."
                ),
            ),
            InvokeError::NotFound { .. }
            | InvokeError::EventTooLarge { .. }
            | InvokeError::Throttled { .. }
            | InvokeError::ShuttingDown => return None,
        };
        let payload = json!({ "errorType": kind, "errorMessage": message });
        Some(Bytes::from(payload.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_reads_as_lambdas_does() {
        let error = InvokeError::TimedOut {
            function: "f".to_owned(),
            request_id: "r-1".to_owned(),
            timeout: Duration::from_secs(3),
        };
        assert_eq!(
            error.payload().unwrap(),
            r#"{"errorMessage":"RequestId: r-1 Error: Task timed out after 3.00 seconds","errorType":"Sandbox.Timedout"}"#
        );
    }

    #[test]
    fn what_is_not_the_functions_fault_has_no_function_error() {
        assert_eq!(InvokeError::ShuttingDown.payload(), None);
        assert_eq!(
            InvokeError::Throttled {
                function: "f".to_owned()
            }
            .payload(),
            None
        );
    }
}
