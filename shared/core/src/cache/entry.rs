//! Where an answer is kept, what is kept of it, and how it is told that one came from there.

use crate::{
    id::{self, UserId},
    unit::{Timestamp, TokenUsage},
};

/// Who may be given an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The learner to whom it was given.
    Learner(UserId),
    /// Everybody: nothing of a learner was in its prompt.
    Everybody,
}

/// What an answer rests on beside its question, as a digest: answers of one namespace were given to the same
/// instructions, by the same model, of the same release.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace(String);

/// What makes a namespace.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The operator's number; another one, and nothing of before is found.
    pub version: u32,
    /// All that a prompt says beside the question and what was said before: the tutor's part, the learner.
    pub instructions: &'a [&'a str],
    /// The model that answers.
    pub model: &'a str,
    /// Whether the question stands by itself.
    pub standing: Standing,
}

/// Whether a question stands by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It does, so it asks the same wherever it is asked.
    Alone,
    /// It does not, but nothing was said before it.
    First,
}

/// The layout of what is digested.
const LAYOUT: &str = "1";
/// Half of SHA-256: two grounds that share it are not found by chance or design.
const NAMESPACE_HEX: usize = 32;

impl Namespace {
    /// The namespace of answers with this ground.
    pub fn of(ground: Ground<'_>) -> Self {
        let standing = match ground.standing {
            Standing::Alone => "alone",
            Standing::First => "first",
        };
        let version = ground.version.to_string();
        let mut parts = vec![LAYOUT, &version, ground.model, standing];
        parts.extend(ground.instructions);
        let mut digest = id::digest(&parts);
        digest.truncate(NAMESPACE_HEX);
        Self(digest)
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hex && text.len() == NAMESPACE_HEX).then(|| Self(text.to_owned()))
    }

    /// 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where the answer to a question is kept, if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Who may be given it.
    pub scope: Scope,
    /// What it rests on.
    pub namespace: Namespace,
    /// Of the question's canonical form: [`super::canonical::Canonical::digest`].
    pub digest: String,
}

/// An answer that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The canonical form of the question that it answers.
    pub question: String,
    /// The answer.
    pub text: String,
    /// What the provider called it.
    pub response_id: String,
    /// What it consumed, which a hit saves.
    pub tokens: TokenUsage,
    /// When it was given.
    pub made_at: Timestamp,
    /// A digest of the learner to whom it was given.
    pub asker: String,
}

impl Kept {
    /// Whether it is the answer to the question that a place is of.
    pub fn is_of(&self, place: &Place) -> bool {
        id::digest(&[&self.question]) == place.digest
    }
}

/// Stands for a learner in an entry: whoever reads one learns nobody's id.
pub fn asker(user: &UserId) -> String {
    let mut digest = id::digest(&["asker", user.as_str()]);
    digest.truncate(NAMESPACE_HEX);
    digest
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Origin {
    /// The model gave it now.
    #[default]
    Model,
    /// It was kept for the same question.
    Exact,
    /// It was kept for a question that asks the same.
    Semantic(Similarity),
}

impl Origin {
    /// The word on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "none",
            Self::Exact => "exact",
            Self::Semantic(_) => "semantic",
        }
    }

    /// 1 for the same question, 0 where no question was compared.
    pub fn similarity(self) -> Similarity {
        match self {
            Self::Model => Similarity::NONE,
            Self::Exact => Similarity::SAME,
            Self::Semantic(similarity) => similarity,
        }
    }
}

/// How alike two questions are, in ten-thousandths: 10,000 is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Similarity(u16);

impl Similarity {
    /// Of the same question.
    pub const SAME: Self = Self(10_000);
    /// Of nothing.
    pub const NONE: Self = Self(0);

    /// So many ten-thousandths, at most 10,000.
    pub fn of_ten_thousandths(ten_thousandths: u16) -> Self {
        Self(ten_thousandths.min(Self::SAME.0))
    }

    /// In ten-thousandths.
    pub fn ten_thousandths(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_answer_rests_on_parts_namespaces() {
        let ground = Ground {
            version: 1,
            instructions: &["Be patient.", ""],
            model: "gpt-4o",
            standing: Standing::Alone,
        };
        let others = [
            Ground {
                version: 2,
                ..ground
            },
            Ground {
                instructions: &["Be brief.", ""],
                ..ground
            },
            Ground {
                model: "gpt-4o-mini",
                ..ground
            },
            Ground {
                standing: Standing::First,
                ..ground
            },
        ];
        let namespace = Namespace::of(ground);
        assert_eq!(namespace, Namespace::of(ground));
        assert_eq!(namespace.as_str().len(), NAMESPACE_HEX);
        for other in others {
            assert_ne!(namespace, Namespace::of(other));
        }
    }

    #[test]
    fn similarity_ends_at_the_same() {
        assert_eq!(Similarity::of_ten_thousandths(u16::MAX), Similarity::SAME);
        assert_eq!(Origin::Exact.similarity(), Similarity::SAME);
        assert_eq!(Origin::Model.similarity(), Similarity::NONE);
    }
}
