//! Hides asynchronous invocations: they are answered at once, run when they can, and are tried
//! again when they fail.
//!
//! They are kept in memory: what has not run when the stack ends is lost, unlike on AWS.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{self, Instant};

use super::{Invocation, InvokeError, Lambda, WhenBusy};

/// What all events may weigh that are under way, those that wait for a retry included, and what
/// each weighs at least: that is 1,024 of them, or 256 large ones.
pub(super) const ROOM_KB: usize = 256 * 1024;
const EVENT_KB_MIN: u32 = 256;

/// How long a throttled event waits: doubled from the first to the second (Lambda developer
/// guide, asynchronous invocation: "exponentially from 1 second after the first attempt to a
/// maximum of 5 minutes").
const THROTTLED_WAIT_MIN: Duration = Duration::from_secs(1);
const THROTTLED_WAIT_MAX: Duration = Duration::from_mins(5);

/// An event that nobody waits for.
struct Event {
    lambda: Lambda,
    request_id: String,
    function: String,
    event: Bytes,
    trace_header: Option<String>,
}

impl Lambda {
    /// Runs a function as soon as it can, and again if it fails, as its `EventInvokeConfig` says.
    ///
    /// # Errors
    /// There is no such function, or too many events wait already.
    pub(super) fn invoke_later(
        &self,
        request_id: String,
        function: &str,
        event: Bytes,
        trace_header: Option<String>,
    ) -> Result<(), InvokeError> {
        self.pool(function)?;
        let weight_kb = u32::try_from(event.len().div_ceil(1024)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.platform.later);
        let Ok(place) = room.try_acquire_many_owned(weight_kb.max(EVENT_KB_MIN)) else {
            let function = function.to_owned();
            return Err(InvokeError::Throttled { function });
        };
        let event = Event {
            lambda: self.clone(),
            request_id,
            function: function.to_owned(),
            event,
            trace_header,
        };
        self.platform.spawn(async move {
            let result = tokio::select! {
                biased;
                result = event.run() => result,
                () = event.lambda.platform.closing() => Err(InvokeError::ShuttingDown),
            };
            let (function, request_id) = (&event.function, &event.request_id);
            match result {
                Ok(()) => {}
                Err(InvokeError::ShuttingDown) => {
                    tracing::warn!(function, request_id, "an asynchronous invocation is lost");
                }
                Err(error) => {
                    tracing::error!(%error, "an asynchronous invocation failed for good");
                }
            }
            drop(place);
        });
        Ok(())
    }
}

impl Event {
    async fn run(&self) -> Result<(), InvokeError> {
        let retries = self
            .lambda
            .pool(&self.function)?
            .executable
            .function
            .async_retries;
        let began = Instant::now();
        let (mut failures, mut throttles) = (0_u32, 0_u32);
        loop {
            let invocation = Invocation {
                trace_header: self.trace_header.clone(),
                when_busy: WhenBusy::Wait,
            };
            let (id, event) = (self.request_id.clone(), self.event.clone());
            let invoked = self
                .lambda
                .invoke_as(id, &self.function, event, invocation, None);
            let error = match invoked.await {
                Ok(_unread) => return Ok(()),
                Err(error) => error,
            };
            let wait = if error.payload().is_some() {
                failures = failures.saturating_add(1);
                if failures > retries.retries_max {
                    return Err(error);
                }
                self.lambda
                    .platform
                    .pace
                    .retry_delay
                    .saturating_mul(failures)
            } else if matches!(error, InvokeError::Throttled { .. }) {
                throttles = throttles.saturating_add(1);
                let doublings = throttles.saturating_sub(1).min(10);
                THROTTLED_WAIT_MIN
                    .saturating_mul(1_u32 << doublings)
                    .min(THROTTLED_WAIT_MAX)
            } else {
                return Err(error);
            };
            if began.elapsed().saturating_add(wait) > retries.age_max {
                return Err(error);
            }
            tracing::warn!(%error, "an asynchronous invocation is tried again");
            time::sleep(wait).await;
        }
    }
}
