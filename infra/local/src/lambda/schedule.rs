//! Hides how schedules invoke functions: when they are due, and the event that says so.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::time;

use super::{Lambda, request_id, unix_time_ms};
use crate::{
    sqs::{ACCOUNT, REGION},
    template::{Origin, Schedule},
};

/// The clock is looked at this often: a laptop may have slept.
const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(30);

/// The time of schedules: the wall clock's, or a faster one that starts there.
#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Timestamp,
    speed: i32,
}

impl Lambda {
    /// Invokes functions asynchronously when their schedules are due, until
    /// [`Lambda::shutdown`]. What was due while the machine slept is made up for once.
    pub fn run_schedules(&self) {
        let speed = self.platform.pace.schedule_speed.max(1);
        let clock = Clock {
            start: wall_clock(),
            speed: i32::try_from(speed).unwrap_or(i32::MAX),
        };
        for (function, pool) in self.pools.iter() {
            for schedule in &pool.executable.function.schedules {
                let (lambda, function) = (self.clone(), function.clone());
                let schedule = schedule.clone();
                self.platform.spawn(async move {
                    tokio::select! {
                        () = lambda.follow(&schedule, &function, clock) => {}
                        () = lambda.platform.closing() => {}
                    }
                });
            }
        }
    }

    async fn follow(&self, schedule: &Schedule, function: &str, clock: Clock) {
        let mut now = clock.now();
        while let Some(due) = schedule.when.next_after(now, clock.start) {
            clock.wait_until(due).await;
            let event = event(schedule, due);
            if let Err(error) = self.invoke_later(request_id(), function, event, None) {
                tracing::error!(%error, schedule = schedule.name, "a schedule is skipped");
            }
            now = clock.now().max(due);
        }
    }
}

impl Clock {
    fn now(self) -> Timestamp {
        let passed = wall_clock().duration_since(self.start);
        let passed = passed.checked_mul(self.speed).unwrap_or(passed);
        self.start.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    async fn wait_until(self, due: Timestamp) {
        loop {
            let left = due.duration_since(self.now());
            if !left.is_positive() {
                return;
            }
            let left = left.checked_div(self.speed).unwrap_or(left);
            // A millisecond more: the wall clock is read in whole ones.
            let left = left
                .min(LOOK_EVERY)
                .saturating_add(SignedDuration::from_millis(1));
            time::sleep(left.unsigned_abs()).await;
        }
    }
}

fn wall_clock() -> Timestamp {
    let unix_ms = i64::try_from(unix_time_ms()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The event: the schedule's own input, or what EventBridge writes (EventBridge user guide,
/// "Creating a rule that runs on a schedule"; that Scheduler's has its `detail` as text is
/// unconfirmed).
fn event(schedule: &Schedule, due: Timestamp) -> Bytes {
    let id = request_id();
    let time = due.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let name = &schedule.name;
    let (source, resource, detail) = match schedule.origin {
        Origin::Rule => (
            "aws.events",
            format!("events:{REGION}:{ACCOUNT}:rule/{name}"),
            json!({}),
        ),
        Origin::Scheduler => (
            "aws.scheduler",
            format!("scheduler:{REGION}:{ACCOUNT}:schedule/default/{name}"),
            json!("{}"),
        ),
    };
    let arn = format!("arn:aws:{resource}");
    if let Some(input) = &schedule.input {
        let input = match schedule.origin {
            Origin::Rule => input.clone(),
            // EventBridge Scheduler user guide, "Adding context attributes".
            Origin::Scheduler => input
                .replace("<aws.scheduler.schedule-arn>", &arn)
                .replace("<aws.scheduler.scheduled-time>", &time)
                .replace("<aws.scheduler.execution-id>", &id)
                .replace("<aws.scheduler.attempt-number>", "1"),
        };
        return Bytes::from(input);
    }
    let event = json!({
        "version": "0",
        "id": id,
        "detail-type": "Scheduled Event",
        "source": source,
        "account": ACCOUNT,
        "time": time,
        "region": REGION,
        "resources": [arn],
        "detail": detail,
    });
    Bytes::from(event.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::template::When;

    #[test]
    fn schedulers_input_may_name_what_only_the_moment_knows() {
        let due: Timestamp = "2030-01-01T08:30:00Z".parse().unwrap();
        let input =
            r#"{"at":"<aws.scheduler.scheduled-time>","of":"<aws.scheduler.schedule-arn>"}"#;
        let schedule = |origin| Schedule {
            name: "daily".to_owned(),
            origin,
            when: When::At(due),
            input: Some(input.to_owned()),
        };
        assert_eq!(event(&schedule(Origin::Rule), due), input);
        let event: Value =
            serde_json::from_slice(&event(&schedule(Origin::Scheduler), due)).unwrap();
        let arn = "arn:aws:scheduler:us-east-1:000000000000:schedule/default/daily";
        assert_eq!(event, json!({ "at": "2030-01-01T08:30:00Z", "of": arn }));
    }
}
