//! What a run of the stream came to: hits, wrong ones, what they saved, how long they took.

use std::time::Duration;

use anyhow::Result;
use sparkle_core::cache::evidence::Evidence;
use sparkle_tests::bench::{against, head, report, say};

use crate::{
    draw::{Ask, Novelty, Sharing, novelties},
    questions::{Kind, Question},
    school::{Bill, Level, Turn},
};

/// R-CACHE-5 and M4: more than this share of all questions.
const HITS_MIN: f64 = 0.60;
/// R-CACHE-5: at least this share of what it would cost.
const SAVED_MIN: f64 = 0.40;
/// M3: P(wrong | hit), with 95 % confidence.
const WRONG_MAX: f64 = 0.01;

/// A stream that was asked, and what came of it.
pub(crate) struct Run<'a> {
    questions: &'a [Question],
    stream: &'a [Ask],
    sharing: Sharing,
    novelties: Vec<Novelty>,
    turns: Vec<Turn>,
}

/// One question, its answer, and what the question was.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) turn: &'a Turn,
    pub(crate) ask: &'a Ask,
    pub(crate) novelty: Novelty,
    /// For which question the answer was made.
    pub(crate) origin: &'a Ask,
}

impl Seen<'_> {
    pub(crate) fn is_hit(&self) -> bool {
        self.turn.level != Level::Fresh
    }

    fn is_wrong(&self) -> bool {
        self.is_hit()
            && (self.ask.question != self.origin.question || self.novelty == Novelty::NotCacheable)
    }
}

/// A share; none of nothing.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are small"
)]
pub(crate) fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

impl<'a> Run<'a> {
    pub(crate) fn of(
        questions: &'a [Question],
        stream: &'a [Ask],
        sharing: Sharing,
        turns: Vec<Turn>,
    ) -> Self {
        Self {
            questions,
            stream,
            sharing,
            novelties: novelties(questions, stream, sharing),
            turns,
        }
    }

    /// All questions, in the order in which they were asked.
    pub(crate) fn seen(&self) -> impl Iterator<Item = Seen<'_>> {
        self.turns.iter().map(|turn| Seen {
            turn,
            ask: &self.stream[turn.place],
            novelty: self.novelties[turn.place],
            origin: &self.stream[turn.answers],
        })
    }

    fn count(&self, is_it: impl Fn(&Seen<'_>) -> bool) -> usize {
        self.seen().filter(is_it).count()
    }

    /// Prints all but how shared answers are paced, beside the same stream without a cache.
    pub(crate) fn show(&self, without: &[Turn]) -> Result<()> {
        say(&format!("\n{}", title(self.sharing)))?;
        self.show_levels()?;
        self.show_hits()?;
        self.show_wrong()?;
        self.show_savings(without)?;
        say("  from sending to `done`")?;
        head()?;
        for (title, level) in [
            ("exact hits of the learner's own", Level::Exact),
            ("semantic hits of the learner's own", Level::Semantic),
            ("fresh answers", Level::Fresh),
        ] {
            // What another learner asked first is paced, and measured apart.
            let is_own = |seen: &Seen<'_>| seen.origin.learner == seen.ask.learner;
            let of_level = self
                .seen()
                .filter(|seen| seen.turn.level == level && is_own(seen));
            let waits: Vec<Duration> = of_level.map(|seen| seen.turn.done).collect();
            report(title, &waits, "")?;
        }
        Ok(())
    }

    fn show_levels(&self) -> Result<()> {
        say(&format!(
            "  {:<26}{:>6}{:>9}{:>8}{:>10}{:>8}{:>8}",
            "mix", "n", "share", "exact", "semantic", "fresh", "wrong"
        ))?;
        for novelty in Novelty::ALL {
            let of_it = |seen: &Seen<'_>| seen.novelty == novelty;
            let at = |level| self.count(|seen| of_it(seen) && seen.turn.level == level);
            let n = self.count(of_it);
            say(&format!(
                "  {:<26}{n:>6}{:>7.1} %{:>8}{:>10}{:>8}{:>8}",
                novelty.title(),
                100.0 * share(n, self.turns.len()),
                at(Level::Exact),
                at(Level::Semantic),
                at(Level::Fresh),
                self.count(|seen| of_it(seen) && seen.is_wrong()),
            ))?;
        }
        Ok(())
    }

    fn show_hits(&self) -> Result<()> {
        let all = self.turns.len();
        let of = |level| share(self.count(|seen| seen.turn.level == level), all);
        let hits = share(self.count(|seen| seen.is_hit()), all);
        let repeats =
            self.count(|seen| matches!(seen.novelty, Novelty::Exact | Novelty::OtherWords));
        say(&format!(
            "  hits: exact {:.1} %, semantic {:.1} %, all {:.1} %; the most that was possible {:.1} %",
            100.0 * of(Level::Exact),
            100.0 * of(Level::Semantic),
            100.0 * hits,
            100.0 * share(repeats, all),
        ))?;
        let figure = format!("{:.1} %", 100.0 * hits);
        against(
            "R-CACHE-5, M4: more than 60 % hits",
            &figure,
            hits > HITS_MIN,
        )
    }

    fn show_wrong(&self) -> Result<()> {
        for (title, levels) in [
            ("all hits", &[Level::Exact, Level::Semantic][..]),
            ("semantic hits alone", &[Level::Semantic]),
        ] {
            let hit = |seen: &Seen<'_>| levels.contains(&seen.turn.level);
            let checked = self.count(hit);
            let wrong = self.count(|seen| hit(seen) && seen.is_wrong());
            let evidence = Evidence {
                checked: checked.try_into()?,
                wrong: wrong.try_into()?,
            };
            let bound = evidence.wrong_at_most();
            let figure = format!(
                "{wrong} of {checked}: {:.2} %, at most {:.2} %",
                100.0 * share(wrong, checked),
                100.0 * bound
            );
            let target = format!("M3: P(wrong | hit) at most 1 %, 95 % sure: {title}");
            against(&target, &figure, bound <= WRONG_MAX)?;
        }
        for seen in self.seen().filter(Seen::is_wrong) {
            say(&format!(
                "    wrong ({:.3}, {}): {}\n      was given the answer to: {}",
                seen.turn.similarity,
                seen.novelty.title(),
                self.text(seen.ask),
                self.text(seen.origin),
            ))?;
        }
        let not_cacheable =
            self.count(|seen| seen.novelty == Novelty::NotCacheable && seen.is_hit());
        let target = "no hit where the answer depends on talk, learner or moment";
        against(target, &not_cacheable.to_string(), not_cacheable == 0)?;
        let once = self
            .count(|seen| self.questions[seen.ask.question].kind == Kind::Solo && seen.is_hit());
        against(
            "no hit where the question was asked once",
            &once.to_string(),
            once == 0,
        )?;
        if self.sharing == Sharing::Private {
            let crossed = self.count(|seen| seen.origin.learner != seen.ask.learner);
            let target = "M3: no answer of another learner";
            against(target, &crossed.to_string(), crossed == 0)?;
        }
        Ok(())
    }

    /// What hits saved: what the same question cost where nothing is kept. The whole bill differs by more, which is
    /// shown apart: nothing of the conversation is in a prompt whose answer is to be shared, and the lengths of
    /// answers are drawn call by call.
    fn show_savings(&self, without: &[Turn]) -> Result<()> {
        let whole: Bill = without.iter().map(|turn| turn.bill).sum();
        let spent: Bill = self.turns.iter().map(|turn| turn.bill).sum();
        let hits = self.turns.iter().zip(without);
        let hits = hits.filter(|(turn, _)| turn.level != Level::Fresh);
        let hits: Bill = hits.map(|(_, without)| without.bill).sum();
        for (title, hits, spent, whole) in [
            ("tokens", hits.tokens, spent.tokens, whole.tokens),
            (
                "micro-dollars",
                hits.cost_microusd,
                spent.cost_microusd,
                whole.cost_microusd,
            ),
        ] {
            let saved = share_of(hits, whole);
            let lower = 1.0 - share_of(spent, whole);
            against(
                &format!("R-CACHE-5: at least 40 % of the {title} saved by hits"),
                &format!(
                    "{:.1} %; whole bill {:.1} % lower",
                    100.0 * saved,
                    100.0 * lower
                ),
                saved >= SAVED_MIN,
            )?;
        }
        Ok(())
    }

    fn text(&self, ask: &Ask) -> &str {
        &self.questions[ask.question].forms[ask.form]
    }
}

/// In words.
fn title(sharing: Sharing) -> &'static str {
    match sharing {
        Sharing::Private => "as shipped: answers are their learner's alone",
        Sharing::Shared => "SPARKLE_CACHE_SHARED=1: answers are shared",
    }
}

/// Prints what a stream holds for those who share answers.
pub(crate) fn show_mix(novelties: &[Novelty], sharing: Sharing) -> Result<()> {
    let of = |novelty| novelties.iter().filter(|one| **one == novelty).count();
    let parts = Novelty::ALL.map(|novelty| {
        let percent = 100.0 * share(of(novelty), novelties.len());
        format!("{} {percent:.1} %", novelty.title())
    });
    say(&format!(
        "mix          {}:\n             {}",
        title(sharing),
        parts.join(", ")
    ))
}

fn share_of(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
