//! The model that comes with Sparkle: `multilingual-e5-small` for Chinese and English, on this processor.
//!
//! Hides the network and its files (`weights/README.md`). One text at a time, on the caller's thread: some milliseconds
//! of work, so that an async caller puts it on a thread of its own.

use std::fmt;
use std::path::Path;

use crate::error::{OpenError, ReadError, VectorError};
use crate::gguf::{self, BLOCK, Gguf, Kind};
use crate::layer::{Layer, Norm, WIDTH};
use crate::vector::{Vector, VectorVersion};
use crate::vocabulary::{self, PREFIX_TOKENS, Vocabulary};

/// The most tokens of a text, with the five that are put around it.
pub const TOKENS_MAX: usize = 512;
/// The most bytes of a text.
pub const TEXT_BYTES_MAX: usize = 32 * 1024;

const MODEL: &str = "model.gguf";
const MEAN: &str = "mean.f32";
const SUMS: &str = "SHA256SUMS";
/// Changes whenever this program makes other vectors of the same files.
const READER: &str = "reader 1 ";
const PIECES: usize = 102_937;
const DIMENSION: u16 = 384;
/// Layers that read each text alone before the verifier's read both: none, so that its twelve see every word of
/// both. The weights must have been made so (`tuning/net.py`).
pub(crate) const LOWER: usize = 0;
pub(crate) const LAYERS: usize = 12;

/// The model, loaded.
#[derive(Debug)]
pub struct Bundled {
    version: VectorVersion,
    vocabulary: Vocabulary,
    /// A row of blocks for each piece.
    pieces: Vec<u8>,
    kind: Kind,
    /// A row for each place in a text, with what every token has.
    places: Vec<f32>,
    norm: Norm,
    lower: Vec<Layer>,
    upper: Vec<Layer>,
    mean: Vec<f32>,
}

/// A text as the model understands it.
#[derive(Clone)]
pub struct Reading {
    vector: Vector,
    /// Before centring and rounding.
    unit: Vec<f32>,
    states: States,
}

/// A text as far as it is read alone: what a verifier goes on from.
#[derive(Clone)]
pub struct States(Vec<f32>);

impl States {
    /// Rows of the tokens, without those of the prefix.
    pub(crate) fn rows(&self) -> &[f32] {
        &self.0
    }
}

/// Without the numbers: they tell what a learner asked.
impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "States({} tokens)", self.0.len() / WIDTH)
    }
}

/// Without the numbers: they tell what a learner asked.
impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reading({:?}, {:?})", self.states, self.vector)
    }
}

impl Reading {
    /// Where it points.
    pub fn vector(&self) -> &Vector {
        &self.vector
    }

    /// What a verifier goes on from.
    pub fn states(&self) -> &States {
        &self.states
    }

    /// The cosine of the angle as caches elsewhere compare it, without centring: seldom below 0.75.
    pub fn plain_similarity(&self, other: &Self) -> f64 {
        let pairs = self.unit.iter().zip(&other.unit);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }
}

impl Bundled {
    /// Loads the model from a folder with `model.gguf`, `tokenizer.json`, `mean.f32` and `SHA256SUMS`.
    ///
    /// # Errors
    /// A file is missing or not what it should be.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let mut file = Gguf::open(folder, MODEL)?;
        let (kind, pieces) = file.blocks("token_embd.weight", &[WIDTH, PIECES])?;
        if kind == Kind::F32 {
            return Err(OpenError::damaged(MODEL, "the pieces are not in blocks"));
        }
        let mut places = file.numbers("position_embd.weight", &[WIDTH, TOKENS_MAX])?;
        let types = file.numbers("token_types.weight", &[WIDTH, 2])?;
        for row in places.chunks_exact_mut(WIDTH) {
            for (number, of_type) in row.iter_mut().zip(&types) {
                *number += of_type;
            }
        }
        let mut layers = |numbers: std::ops::Range<usize>| {
            numbers.map(|at| Layer::read(&mut file, at)).collect()
        };
        let (lower, upper): (Result<_, _>, Result<_, _>) =
            (layers(0..LOWER), layers(LOWER..LAYERS));
        Ok(Self {
            version: version(folder)?,
            vocabulary: Vocabulary::open(folder, PIECES)?,
            pieces,
            kind,
            places,
            norm: Norm::read(&mut file, "token_embd_norm")?,
            lower: lower?,
            upper: upper?,
            mean: mean(folder)?,
        })
    }

    /// What its vectors are of.
    pub fn version(&self) -> VectorVersion {
        self.version
    }

    /// Reads a question. Grows somewhat faster than its tokens: about 3 ms for a line, a second for 512 tokens.
    ///
    /// # Errors
    /// The text is blank, too long, or has characters that the model does not know.
    pub fn read(&self, text: &str) -> Result<Reading, ReadError> {
        let mut rows = self.look_up(text)?;
        carry(&self.lower, &mut rows);
        let states = States(without_prefix(&rows));
        carry(&self.upper, &mut rows);
        let unit = unit(&rows);
        let vector = self
            .centred(&unit)
            .map_err(|_no_direction| ReadError::Blank)?;
        Ok(Reading {
            vector,
            unit,
            states,
        })
    }

    /// What a verifier goes on from, without the vector. Takes a fraction of the time.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn states(&self, text: &str) -> Result<States, ReadError> {
        let mut rows = self.look_up(text)?;
        carry(&self.lower, &mut rows);
        Ok(States(without_prefix(&rows)))
    }

    /// A row for each token.
    fn look_up(&self, text: &str) -> Result<Vec<f32>, ReadError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(ReadError::TooLong);
        }
        let ids = self.vocabulary.ids(text)?;
        if ids.len() > TOKENS_MAX {
            return Err(ReadError::TooLong);
        }
        let block_bytes = self.kind.block().1;
        let row_bytes = WIDTH / BLOCK * block_bytes;
        let mut rows = Vec::with_capacity(ids.len() * WIDTH);
        for id in ids {
            let start = usize::try_from(id)
                .unwrap_or(usize::MAX)
                .saturating_mul(row_bytes);
            let row = self
                .pieces
                .get(start..start.saturating_add(row_bytes))
                .unwrap_or_default();
            for bytes in row.chunks_exact(block_bytes) {
                let (scale, weights) = gguf::block(self.kind, bytes);
                rows.extend(weights.map(|weight| f32::from(weight) * scale));
            }
        }
        for (number, of_place) in rows.iter_mut().zip(&self.places) {
            *number += of_place;
        }
        self.norm.apply(&mut rows);
        Ok(rows)
    }

    /// A direction, seen from where all texts' directions have their middle.
    fn centred(&self, unit: &[f32]) -> Result<Vector, VectorError> {
        let centred: Vec<f32> = unit
            .iter()
            .zip(&self.mean)
            .map(|(number, mean)| number - mean)
            .collect();
        Vector::round(self.version, &centred)
    }
}

/// Carries the rows of one text through layers.
fn carry(layers: &[Layer], rows: &mut [f32]) {
    let tokens = rows.len() / WIDTH;
    for layer in layers {
        layer.apply(rows, tokens);
    }
}

/// The sum of all rows in its direction, of length 1.
fn unit(rows: &[f32]) -> Vec<f32> {
    let mut sum = vec![0.0; WIDTH];
    for row in rows.chunks_exact(WIDTH) {
        for (sum, number) in sum.iter_mut().zip(row) {
            *sum += number;
        }
    }
    let length = sum.iter().map(|number| number * number).sum::<f32>().sqrt();
    sum.iter().map(|number| number / length).collect()
}

fn without_prefix(rows: &[f32]) -> Vec<f32> {
    let (first, rest) = rows.split_at_checked(WIDTH).unwrap_or((rows, &[]));
    let rest = rest.get(PREFIX_TOKENS * WIDTH..).unwrap_or_default();
    [first, rest].concat()
}

fn mean(folder: &Path) -> Result<Vec<f32>, OpenError> {
    let path = folder.join(MEAN);
    let bytes = std::fs::read(&path).map_err(|source| OpenError::Unreadable { path, source })?;
    let mean = gguf::f32s(&bytes);
    if mean.len() == WIDTH {
        Ok(mean)
    } else {
        Err(OpenError::damaged(MEAN, format!("{} numbers", mean.len())))
    }
}

/// What the vectors of the model in a folder are of, without loading it.
///
/// From the checksums that stand in the folder: to compute them would be the most of a cold start.
///
/// # Errors
/// `SHA256SUMS` is missing or names not all files.
pub fn version(folder: &Path) -> Result<VectorVersion, OpenError> {
    let path = folder.join(SUMS);
    let sums =
        std::fs::read_to_string(&path).map_err(|source| OpenError::Unreadable { path, source })?;
    let mut maker = READER.to_owned();
    for file in [MODEL, vocabulary::FILE, MEAN] {
        let mut lines = sums.lines().filter_map(|line| line.split_once("  "));
        let sum = lines.find(|(_, name)| *name == file).map(|(sum, _)| sum);
        maker.push_str(sum.ok_or_else(|| OpenError::damaged(SUMS, format!("{file} is missing")))?);
    }
    Ok(VectorVersion::new(&maker, DIMENSION))
}
