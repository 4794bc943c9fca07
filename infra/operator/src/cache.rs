//! `sparkle cache`: the answers that are kept, and taking them out.

use std::{cmp::Reverse, io::Write, time::Duration};

use clap::{ArgGroup, Args, Subcommand};
use sparkle_aws::table::answers::{Answered, Answers, Filter};
use sparkle_core::{
    id::UserId,
    unit::{Timestamp, grouped},
};

use crate::{grid::Grid, user_id};

/// Most characters of a question that are shown.
const QUESTION_CHARACTERS_MAX: usize = 40;
const DAY: Duration = Duration::from_hours(24);

/// What to do with the answers that are kept.
#[derive(Debug, Subcommand)]
pub enum Cache {
    /// Show answers that are kept, those first that have saved most, and what all of them have saved
    Show(Shown),
    /// Remove answers: nobody is served them any more
    Clear(Cleared),
}

/// Which answers to show.
#[derive(Debug, Args)]
pub struct Shown {
    #[command(flatten)]
    meant: Meant,
    /// Given within so many days
    #[arg(long, value_name = "DAYS", value_parser = days)]
    newer_than: Option<Duration>,
    /// Rows at most; the totals are of all
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Which answers to remove.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["user", "topic", "older_than", "all"]))]
pub struct Cleared {
    #[command(flatten)]
    meant: Meant,
    /// Every one
    #[arg(long, conflicts_with_all = ["user", "topic", "older_than"])]
    all: bool,
}

/// Which answers are meant: those of which all is true that is said.
#[derive(Debug, Args)]
struct Meant {
    /// Of this learner; what is for everybody is nobody's
    #[arg(long, value_parser = user_id)]
    user: Option<UserId>,
    /// In whose question this stands, in large or small letters
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    topic: Option<String>,
    /// Given more than so many days ago; 0: before now
    #[arg(long, value_name = "DAYS", value_parser = days)]
    older_than: Option<Duration>,
}

impl Meant {
    fn filter(self, now: Timestamp) -> Filter {
        Filter {
            user: self.user,
            topic: self.topic,
            before: self.older_than.map(|age| before(now, age)),
            since: None,
        }
    }
}

/// Shows or removes answers. Cost: see [`Answers::list`] and [`Answers::clear`].
pub(crate) async fn run(
    answers: &Answers,
    cache: Cache,
    now: Timestamp,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match cache {
        Cache::Show(shown) => {
            let since = shown.newer_than.map(|age| before(now, age));
            let filter = Filter {
                since,
                ..shown.meant.filter(now)
            };
            let mut found = Vec::new();
            answers
                .list(&filter, now, |answered| found.push(answered))
                .await?;
            write(found, shown.limit, now, out)?;
        }
        Cache::Clear(cleared) => {
            let removed = answers.clear(&cleared.meant.filter(now)).await?;
            let said = match removed {
                1 => "1 answer is removed".to_owned(),
                removed => format!("{} answers are removed", grouped(removed)),
            };
            writeln!(out, "{said}")?;
        }
    }
    Ok(())
}

fn write(
    mut found: Vec<Answered>,
    limit: usize,
    now: Timestamp,
    out: &mut impl Write,
) -> std::io::Result<()> {
    found.sort_by_key(|answered| (Reverse(answered.saved_tokens), Reverse(answered.made_at)));
    let sum = |figure: fn(&Answered) -> u64| {
        let figures = found.iter().map(figure);
        grouped(figures.fold(0, u64::saturating_add))
    };
    let (hits, saved_tokens) = (
        sum(|answered| answered.hits),
        sum(|answered| answered.saved_tokens),
    );
    let mut grid = Grid::new(2, ["owner", "question", "age", "hits", "saved tokens"]);
    for answered in found.iter().take(limit) {
        grid.row([
            printable(&answered.owner),
            shortened(&answered.question),
            age(answered.made_at, now),
            grouped(answered.hits),
            grouped(answered.saved_tokens),
        ]);
    }
    let count = u64::try_from(found.len()).unwrap_or(u64::MAX);
    let total = match count {
        1 => "1 answer".to_owned(),
        count => format!("{} answers", grouped(count)),
    };
    grid.row(["total".to_owned(), total, String::new(), hits, saved_tokens]);
    grid.write(out)
}

/// The beginning of a question, in one line.
fn shortened(question: &str) -> String {
    let question = printable(question);
    match question.char_indices().nth(QUESTION_CHARACTERS_MAX) {
        Some((end, _)) => {
            let (beginning, _) = question.split_at(end);
            format!("{beginning}…")
        }
        None => question,
    }
}

/// A text that cannot do anything to a terminal.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).collect()
}

/// How long ago something was, in the largest unit that it fills.
fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.unix_ms().saturating_sub(at.unix_ms()).max(0) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(now.unix_ms().saturating_sub(age_ms))
}

fn days(text: &str) -> Result<Duration, String> {
    let days: u32 = text
        .parse()
        .map_err(|_not_whole| "a whole number of days".to_owned())?;
    Ok(DAY.saturating_mul(days))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(question: &str, saved_tokens: u64, seconds_ago: i64) -> Answered {
        Answered {
            owner: "learner/ann".to_owned(),
            question: question.to_owned(),
            made_at: Timestamp::from_unix_ms(NOW_MS - seconds_ago * 1_000),
            hits: saved_tokens / 10,
            saved_tokens,
        }
    }

    const NOW_MS: i64 = 1_764_000_000_000;

    #[test]
    fn what_has_saved_most_comes_first_and_the_totals_are_of_all() {
        let found = vec![
            answered("what is a limit", 0, 59),
            answered(&"导".repeat(41), 12_000, 3 * 86_400),
            answered("a\u{1b}[31m", 20, 7_200),
        ];
        let mut text = Vec::new();
        write(found, 2, Timestamp::from_unix_ms(NOW_MS), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].starts_with("owner"), "{text}");
        let first = format!(
            "learner/ann  {}…  3 d  1,200        12,000",
            "导".repeat(40)
        );
        assert_eq!(lines[1], first);
        assert!(
            lines[2].contains("a [31m") && lines[2].contains("2 h"),
            "{text}"
        );
        assert!(lines[3].starts_with("total        3 answers"), "{text}");
        assert!(lines[3].ends_with("1,202        12,020"), "{text}");
    }

    #[test]
    fn an_age_is_told_in_the_largest_unit_that_it_fills() {
        let now = Timestamp::from_unix_ms(NOW_MS);
        for (seconds, told) in [
            (-5, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_600, "1 h"),
            (86_400, "1 d"),
        ] {
            assert_eq!(
                age(Timestamp::from_unix_ms(NOW_MS - seconds * 1_000), now),
                told
            );
        }
    }
}
