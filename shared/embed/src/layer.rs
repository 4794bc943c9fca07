//! One layer of the network: attention between the tokens, then each token by itself.
//!
//! Hides BERT's layer with the norm after each part (<https://arxiv.org/abs/1810.04805>). A verifier's layer also has
//! an inclination, for each head, towards or away from the other text's tokens.

#![expect(
    clippy::inline_always,
    reason = "what is compiled once for each kind of processor has to be inlined there"
)]

use pulp::{Arch, Simd, WithSimd};

use crate::error::OpenError;
use crate::gguf::Gguf;
use crate::lanes::{self, LANES};
use crate::matrix::Matrix;

/// Numbers for each token.
pub(crate) const WIDTH: usize = 384;
/// The same, as the count that a mean is divided by.
const WIDTH_F32: f32 = 384.0;
const INNER: usize = 1_536;
pub(crate) const HEADS: usize = 12;
const HEAD: usize = WIDTH / HEADS;
/// Of scores that belong to no token: their share is nothing.
const NOWHERE: f32 = -1e30;

/// Scale and shift after a norm.
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Norm {
    pub(crate) fn read(file: &mut Gguf, name: &str) -> Result<Self, OpenError> {
        Ok(Self {
            weight: file.numbers(&format!("{name}.weight"), &[WIDTH])?,
            bias: file.numbers(&format!("{name}.bias"), &[WIDTH])?,
        })
    }

    /// Norms each row.
    pub(crate) fn apply(&self, rows: &mut [f32]) {
        Arch::new().dispatch(Normed {
            norm: self,
            rows,
            added: &[],
        });
    }

    /// Adds row to row and norms the sums.
    fn add(&self, rows: &mut [f32], added: &[f32]) {
        Arch::new().dispatch(Normed {
            norm: self,
            rows,
            added,
        });
    }
}

/// Weights of one layer.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Query, key and value side by side.
    attention: Matrix,
    output: Matrix,
    output_norm: Norm,
    up: Matrix,
    down: Matrix,
    norm: Norm,
    /// What is added to the scores between two texts, for each head.
    across: [f32; HEADS],
}

impl Layer {
    /// Reads the layer of this number, of a text by itself.
    pub(crate) fn read(file: &mut Gguf, number: usize) -> Result<Self, OpenError> {
        let name = |part: &str| format!("blk.{number}.{part}");
        let joined = ["attn_q", "attn_k", "attn_v"].map(name);
        Ok(Self {
            attention: Matrix::read(file, &joined, WIDTH, 3 * WIDTH)?,
            output: Matrix::read(file, &[name("attn_output")], WIDTH, WIDTH)?,
            output_norm: Norm::read(file, &name("attn_output_norm"))?,
            up: Matrix::read(file, &[name("ffn_up")], WIDTH, INNER)?,
            down: Matrix::read(file, &[name("ffn_down")], INNER, WIDTH)?,
            norm: Norm::read(file, &name("layer_output_norm"))?,
            across: [0.0; HEADS],
        })
    }

    /// The same for two texts, with what their tokens think of each other.
    pub(crate) fn read_across(file: &mut Gguf, number: usize) -> Result<Self, OpenError> {
        let mut layer = Self::read(file, number)?;
        let across = file.numbers(&format!("blk.{number}.attn_cross.bias"), &[HEADS])?;
        for (to, number) in layer.across.iter_mut().zip(across) {
            *to = number;
        }
        Ok(layer)
    }

    /// Carries the tokens' rows through the layer. The first `first` of them are one text, the rest another.
    pub(crate) fn apply(&self, rows: &mut [f32], first: usize) {
        let joined = self.attention.times(rows);
        let mut seen = vec![0.0; rows.len()];
        Arch::new().dispatch(Attention {
            joined: &joined,
            first,
            across: &self.across,
            seen: &mut seen,
        });
        self.output_norm.add(rows, &self.output.times(&seen));
        let mut inner = self.up.times(rows);
        gelu(&mut inner);
        self.norm.add(rows, &self.down.times(&inner));
    }
}

/// GELU of each number.
pub(crate) fn gelu(numbers: &mut [f32]) {
    struct Gelu<'a>(&'a mut [f32]);
    impl WithSimd for Gelu<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, _simd: S) {
            lanes::gelu_all(self.0);
        }
    }
    Arch::new().dispatch(Gelu(numbers));
}

struct Normed<'a> {
    norm: &'a Norm,
    rows: &'a mut [f32],
    added: &'a [f32],
}

impl WithSimd for Normed<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        lanes::add_scaled(self.rows, 1.0, self.added);
        for row in self.rows.chunks_exact_mut(WIDTH) {
            lanes::norm(row, &self.norm.weight, &self.norm.bias, WIDTH_F32);
        }
    }
}

struct Attention<'a> {
    /// Query, key and value of each token.
    joined: &'a [f32],
    first: usize,
    across: &'a [f32; HEADS],
    seen: &'a mut [f32],
}

impl WithSimd for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let tokens = self.joined.len() / (3 * WIDTH);
        let padded = tokens.next_multiple_of(LANES);
        let mut keys = vec![0.0; HEAD * padded];
        let mut scores = vec![0.0; padded];
        for (head, &across) in self.across.iter().enumerate() {
            for (token, row) in self.joined.chunks_exact(3 * WIDTH).enumerate() {
                let columns = keys.chunks_exact_mut(padded).zip(part(row, 1, head));
                for (place, number) in
                    columns.filter_map(|(keys, number)| Some((keys.get_mut(token)?, number)))
                {
                    *place = number;
                }
            }
            let queries = self
                .joined
                .chunks_exact(3 * WIDTH)
                .map(|row| part(row, 0, head));
            for (token, (query, seen)) in queries.zip(self.seen.chunks_exact_mut(WIDTH)).enumerate()
            {
                let (to_first, to_second) = if token < self.first {
                    (0.0, across)
                } else {
                    (across, 0.0)
                };
                for (other, score) in scores.iter_mut().enumerate() {
                    *score = match other {
                        other if other >= tokens => NOWHERE,
                        other if other < self.first => to_first,
                        _ => to_second,
                    };
                }
                for (number, keys) in query.iter().zip(keys.chunks_exact(padded)) {
                    lanes::add_scaled(&mut scores, number * SCALE, keys);
                }
                lanes::softmax(&mut scores);
                let mut sum = [0.0; HEAD];
                for (row, &share) in self.joined.chunks_exact(3 * WIDTH).zip(&scores) {
                    lanes::add_scaled(&mut sum, share, &part(row, 2, head));
                }
                if let Some(seen) = seen
                    .get_mut(head * HEAD..)
                    .and_then(<[f32]>::first_chunk_mut)
                {
                    *seen = sum;
                }
            }
        }
    }
}

/// A head's query (0), key (1) or value (2) of a token.
#[inline(always)]
fn part(row: &[f32], which: usize, head: usize) -> [f32; HEAD] {
    let start = which * WIDTH + head * HEAD;
    row.get(start..)
        .and_then(<[f32]>::first_chunk)
        .copied()
        .unwrap_or([0.0; HEAD])
}

/// 1 / sqrt(32), for heads of 32 numbers.
const SCALE: f32 = 0.176_776_7;
