//! Whether two questions ask the same: numbers, negation, names and order included.
//!
//! Hides a second copy of the bundled model's layers that has learned to read both texts at once, from their tokens
//! on ([`Bundled::states`](crate::Bundled::states)).

use std::path::Path;

use crate::bundled::{LAYERS, LOWER, States};
use crate::error::{OpenError, VerifyError};
use crate::gguf::Gguf;
use crate::layer::{self, Layer, WIDTH};
use crate::matrix::Matrix;
use crate::vocabulary::PREFIX_TOKENS;

/// The most tokens of a text, with the five that are put around it: it has learned from no longer ones.
pub const TOKENS_MAX: usize = 64;

const FILE: &str = "verifier.gguf";
const HIDDEN: usize = 128;

/// The verifier, loaded.
#[derive(Debug)]
pub struct Verifier {
    layers: Vec<Layer>,
    hidden: Matrix,
    weights: Vec<f32>,
    bias: f32,
}

impl Verifier {
    /// Loads it from a folder with `verifier.gguf`.
    ///
    /// # Errors
    /// The file is missing or not what it should be.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let mut file = Gguf::open(folder, FILE)?;
        let layers = (LOWER..LAYERS).map(|number| Layer::read_across(&mut file, number));
        Ok(Self {
            layers: layers.collect::<Result<_, _>>()?,
            hidden: Matrix::read(&mut file, &["head.0".to_owned()], 4 * WIDTH, HIDDEN)?,
            weights: file.numbers("head.1.weight", &[HIDDEN, 1])?,
            bias: file.numbers("head.1.bias", &[1])?.iter().sum(),
        })
    }

    /// How much speaks for it that the two ask the same: above 0 more than against it. Not a probability; what to do
    /// at which figure is the caller's calibration. The order of the two does not matter. About 8 ms for two lines.
    ///
    /// # Errors
    /// One of them is longer than what it has learned from.
    pub fn logit(&self, one: &States, other: &States) -> Result<f32, VerifyError> {
        let (one, other) = in_order(one.rows(), other.rows());
        let longer = one.len().max(other.len()) / WIDTH;
        if longer + PREFIX_TOKENS > TOKENS_MAX {
            return Err(VerifyError::TooLong {
                tokens: longer + PREFIX_TOKENS,
            });
        }
        let mut rows = [one, other].concat();
        for layer in &self.layers {
            layer.apply(&mut rows, one.len() / WIDTH);
        }
        let (one, other) = rows.split_at_checked(one.len()).unwrap_or((&rows, &[]));
        let (mean_one, mean_other) = (mean(one), mean(other));
        let means = || mean_one.iter().zip(&mean_other);
        let sums = means().map(|(a, b)| a + b);
        let differences = means().map(|(a, b)| (a - b).abs());
        let products = means().map(|(a, b)| a * b);
        let firsts = one.iter().zip(other).take(WIDTH).map(|(a, b)| a + b);
        let features: Vec<f32> = sums
            .chain(differences)
            .chain(products)
            .chain(firsts)
            .collect();
        let mut hidden = self.hidden.times(&features);
        layer::gelu(&mut hidden);
        Ok(hidden
            .iter()
            .zip(&self.weights)
            .map(|(number, weight)| number * weight)
            .sum::<f32>()
            + self.bias)
    }
}

/// The same two, in an order that does not depend on which came first: sums have to be made in the same order.
fn in_order<'a>(one: &'a [f32], other: &'a [f32]) -> (&'a [f32], &'a [f32]) {
    let bits = |numbers: &'a [f32]| numbers.iter().map(|number| number.to_bits());
    let lengths = one.len().cmp(&other.len());
    if lengths.then_with(|| bits(one).cmp(bits(other))).is_gt() {
        (other, one)
    } else {
        (one, other)
    }
}

fn mean(rows: &[f32]) -> Vec<f32> {
    let mut sum = vec![0.0; WIDTH];
    let mut count = 0.0_f32;
    for row in rows.chunks_exact(WIDTH) {
        count += 1.0;
        for (sum, number) in sum.iter_mut().zip(row) {
            *sum += number;
        }
    }
    sum.iter().map(|number| number / count).collect()
}
