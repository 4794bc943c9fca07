//! What the gateway can be told: API Gateway's times, which tests shorten, and binary frames.

use std::time::Duration;

use clap::{Args, value_parser};

use crate::gateway::{BinaryFrames, Limits};

/// Flags of the gateway.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Gateway (times as 500ms, 2s, 10m or 2h, never longer than AWS's)")]
pub struct Sockets {
    /// How long the gateway waits for a function
    #[arg(
        long,
        env = "SPARKLE_INTEGRATION_TIMEOUT",
        default_value = "29s",
        global = true,
        value_name = "SPAN",
        value_parser = |text: &str| shortened(text, Limits::default().integration_timeout)
    )]
    pub integration_timeout: Duration,
    /// How long a WebSocket may stay without a message
    #[arg(
        long,
        env = "SPARKLE_IDLE_TIMEOUT",
        default_value = "10m",
        global = true,
        value_name = "SPAN",
        value_parser = |text: &str| shortened(text, Limits::default().idle_timeout)
    )]
    pub idle_timeout: Duration,
    /// How long a WebSocket may live
    #[arg(
        long,
        env = "SPARKLE_CONNECTION_LIFE",
        default_value = "2h",
        global = true,
        value_name = "SPAN",
        value_parser = |text: &str| shortened(text, Limits::default().life)
    )]
    pub connection_life: Duration,
    /// New sockets a second, and at once: AWS's 500 or less
    #[arg(
        long,
        env = "SPARKLE_CONNECTION_RATE",
        default_value_t = Limits::default().connections_per_second,
        global = true,
        value_name = "NUMBER",
        value_parser = value_parser!(u32).range(1..=500)
    )]
    pub connection_rate: u32,
    /// Carry binary frames in both directions, which API Gateway does not: Protobuf without base64
    #[arg(long, env = "SPARKLE_BINARY_FRAMES", global = true)]
    pub binary_frames: bool,
}

impl Sockets {
    /// The gateway's limits: AWS's, but for what the flags say.
    pub fn limits(&self) -> Limits {
        Limits {
            integration_timeout: self.integration_timeout,
            idle_timeout: self.idle_timeout,
            life: self.connection_life,
            connections_per_second: self.connection_rate,
            binary_frames: if self.binary_frames {
                BinaryFrames::Carry
            } else {
                BinaryFrames::Refuse
            },
            ..Limits::default()
        }
    }
}

/// A time from 1 ms up to what AWS allows.
fn shortened(text: &str, most: Duration) -> Result<Duration, String> {
    let span = span(text)?;
    if span > most {
        let most_s = most.as_secs();
        return Err(format!(
            "API Gateway allows {most_s}s and no more, so what needs longer would fail there"
        ));
    }
    Ok(span)
}

/// A whole number and its unit.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let mistake = || format!("{text} is not a whole number followed by ms, s, m, h or d");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let ms_each = match text.strip_prefix(digits) {
        Some("ms") => 1,
        Some("s") => 1_000,
        Some("m") => 60_000,
        Some("h") => 3_600_000,
        Some("d") => 86_400_000,
        _ => return Err(mistake()),
    };
    let number: u64 = digits.parse().map_err(|_not_a_number| mistake())?;
    number
        .checked_mul(ms_each)
        .filter(|&ms| ms > 0)
        .map(Duration::from_millis)
        .ok_or_else(mistake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_unit() {
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(span("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(span("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(span("2h"), Ok(Duration::from_hours(2)));
        for bad in [
            "",
            "s",
            "10",
            "-1s",
            "+1s2",
            "0s",
            "1.5s",
            "1w",
            "99999999999999999h",
        ] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_may_only_be_shortened() {
        let most = Duration::from_secs(29);
        assert_eq!(shortened("29s", most), Ok(most));
        let refused = shortened("30s", most).unwrap_err();
        assert!(refused.contains("29s"), "{refused}");
    }
}
