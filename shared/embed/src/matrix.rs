//! A matrix of 8-bit weights, and rows times it.
//!
//! Hides how weights lie in memory and which processor this is. Weights stay bytes, a quarter of the memory that
//! floats take and read as fast; sixteen outputs at a time become floats once for all rows of a text. Activations are
//! never rounded. Each output is one sum from the first input to the last, so that its bits depend on no processor.

#![expect(
    clippy::inline_always,
    reason = "what is compiled once for each kind of processor has to be inlined there"
)]

use pulp::{Arch, Simd, WithSimd};

use crate::error::OpenError;
use crate::gguf::{self, BLOCK, Gguf, Kind};
use crate::lanes::LANES;

/// Rows that are worked on at once where there are 32 vector registers, and where there are 16.
const ROWS_WIDE: usize = 12;
const ROWS_NARROW: usize = 6;

/// Weights of a linear layer, and its bias.
#[derive(Debug)]
pub(crate) struct Matrix {
    inputs: usize,
    outputs: usize,
    /// Of 16 outputs after the other: for each input their 16 weights.
    weights: Vec<[i8; LANES]>,
    /// Of 16 outputs after the other: for each 32 inputs their 16 scales.
    scales: Vec<[f32; LANES]>,
    bias: Vec<[f32; LANES]>,
}

impl Matrix {
    /// Reads `NAME.weight` and `NAME.bias` of each name; their outputs stand side by side.
    pub(crate) fn read(
        file: &mut Gguf,
        names: &[String],
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, OpenError> {
        let each = outputs / names.len().max(1);
        let (mut weights, mut scales, mut bias) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            let (kind, bytes) = file.blocks(&format!("{name}.weight"), &[inputs, each])?;
            let numbers = file.numbers(&format!("{name}.bias"), &[each])?;
            bias.extend_from_slice(numbers.as_chunks::<LANES>().0);
            let row_bytes = inputs / BLOCK * kind.block().1;
            for tile in bytes.chunks_exact(row_bytes * LANES) {
                pack(kind, tile, row_bytes, &mut weights, &mut scales);
            }
        }
        Ok(Self {
            inputs,
            outputs,
            weights,
            scales,
            bias,
        })
    }

    /// Rows of `inputs` numbers become rows of `outputs`.
    pub(crate) fn times(&self, rows: &[f32]) -> Vec<f32> {
        let mut products = vec![0.0; rows.len() / self.inputs * self.outputs];
        Arch::new().dispatch(Product {
            matrix: self,
            rows,
            products: &mut products,
        });
        products
    }
}

/// Sixteen rows of blocks become columns.
fn pack(
    kind: Kind,
    tile: &[u8],
    row_bytes: usize,
    weights: &mut Vec<[i8; LANES]>,
    scales: &mut Vec<[f32; LANES]>,
) {
    let block_bytes = kind.block().1;
    for at in (0..row_bytes).step_by(block_bytes) {
        let mut columns = [[0; LANES]; BLOCK];
        let mut scale = [0.0; LANES];
        for ((lane, row), scale) in tile.chunks_exact(row_bytes).enumerate().zip(&mut scale) {
            let (of_row, numbers) = gguf::block(kind, row.get(at..).unwrap_or_default());
            *scale = of_row;
            for (column, number) in columns.iter_mut().zip(numbers) {
                if let Some(place) = column.get_mut(lane) {
                    *place = number;
                }
            }
        }
        weights.extend_from_slice(&columns);
        scales.push(scale);
    }
}

struct Product<'a> {
    matrix: &'a Matrix,
    rows: &'a [f32],
    products: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.run::<S, 1>(simd, ROWS_WIDE),
            8 => self.run::<S, 2>(simd, ROWS_NARROW),
            4 => self.run::<S, 4>(simd, ROWS_NARROW),
            _ => self.run::<S, LANES>(simd, ROWS_NARROW),
        }
    }
}

impl Product<'_> {
    /// `VECTORS` make sixteen lanes.
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S, rows_max: usize) {
        let Matrix {
            inputs,
            outputs,
            weights,
            scales,
            bias,
        } = self.matrix;
        let count = self.rows.len() / inputs;
        if count == 0 {
            return;
        }
        // As many rows in each strip as in the others, as far as that goes.
        let strip_rows = count.div_ceil(count.div_ceil(rows_max));
        let strips: Vec<Vec<f32>> = self
            .rows
            .chunks(strip_rows * inputs)
            .map(|strip| turned(strip, *inputs))
            .collect();
        let mut panel = vec![[0.0; LANES]; *inputs];
        let tiles = weights
            .chunks_exact(*inputs)
            .zip(scales.chunks_exact(inputs / BLOCK))
            .zip(bias);
        for (tile, ((weights, scales), bias)) in tiles.enumerate() {
            unpack(simd, weights, scales, &mut panel);
            let panel = S::as_simd_f32s(panel.as_flattened())
                .0
                .as_chunks::<VECTORS>()
                .0;
            for (strip, products) in strips
                .iter()
                .zip(self.products.chunks_mut(strip_rows * outputs))
            {
                let mut out = Out {
                    products,
                    outputs: *outputs,
                    column: tile * LANES,
                    bias,
                };
                match strip.len() / inputs {
                    1 => out.strip::<S, VECTORS, 1>(simd, strip, panel),
                    2 => out.strip::<S, VECTORS, 2>(simd, strip, panel),
                    3 => out.strip::<S, VECTORS, 3>(simd, strip, panel),
                    4 => out.strip::<S, VECTORS, 4>(simd, strip, panel),
                    5 => out.strip::<S, VECTORS, 5>(simd, strip, panel),
                    6 => out.strip::<S, VECTORS, 6>(simd, strip, panel),
                    7 => out.strip::<S, VECTORS, 7>(simd, strip, panel),
                    8 => out.strip::<S, VECTORS, 8>(simd, strip, panel),
                    9 => out.strip::<S, VECTORS, 9>(simd, strip, panel),
                    10 => out.strip::<S, VECTORS, 10>(simd, strip, panel),
                    11 => out.strip::<S, VECTORS, 11>(simd, strip, panel),
                    _ => out.strip::<S, VECTORS, 12>(simd, strip, panel),
                }
            }
        }
    }
}

/// Where sixteen outputs of some rows go.
struct Out<'a> {
    products: &'a mut [f32],
    outputs: usize,
    column: usize,
    bias: &'a [f32; LANES],
}

impl Out<'_> {
    #[inline(always)]
    fn strip<S: Simd, const VECTORS: usize, const ROWS: usize>(
        &mut self,
        simd: S,
        strip: &[f32],
        panel: &[[S::f32s; VECTORS]],
    ) {
        let bias = S::as_simd_f32s(self.bias).0.first_chunk::<VECTORS>();
        let Some(&bias) = bias else { return };
        let mut sums = [bias; ROWS];
        for (weights, numbers) in panel.iter().zip(strip.as_chunks::<ROWS>().0) {
            for (sums, &number) in sums.iter_mut().zip(numbers) {
                let number = simd.splat_f32s(number);
                for (sum, &weight) in sums.iter_mut().zip(weights) {
                    *sum = simd.mul_add_f32s(weight, number, *sum);
                }
            }
        }
        for (row, sums) in self.products.chunks_exact_mut(self.outputs).zip(sums) {
            let Some(row) = row.get_mut(self.column..self.column + LANES) else {
                return;
            };
            for (to, sum) in S::as_mut_simd_f32s(row).0.iter_mut().zip(sums) {
                *to = sum;
            }
        }
    }
}

/// Rows become columns: the first number of each row, then the second of each.
#[inline(always)]
fn turned(rows: &[f32], width: usize) -> Vec<f32> {
    let count = rows.len() / width;
    let mut turned = vec![0.0; rows.len()];
    for (at, row) in rows.chunks_exact(width).enumerate() {
        for (column, number) in turned.chunks_exact_mut(count).zip(row) {
            if let Some(place) = column.get_mut(at) {
                *place = *number;
            }
        }
    }
    turned
}

/// Bytes become floats. First all without their scales: over the bytes in a row the compiler makes vectors of itself.
#[inline(always)]
fn unpack<S: Simd>(
    simd: S,
    weights: &[[i8; LANES]],
    scales: &[[f32; LANES]],
    panel: &mut [[f32; LANES]],
) {
    let blocks = weights
        .chunks_exact(BLOCK)
        .zip(panel.chunks_exact_mut(BLOCK));
    for ((weights, panel), scales) in blocks.zip(scales) {
        let panel = panel.as_flattened_mut();
        for (number, &weight) in panel.iter_mut().zip(weights.as_flattened()) {
            *number = f32::from(weight);
        }
        let scales = S::as_simd_f32s(scales).0;
        for numbers in S::as_mut_simd_f32s(panel).0.chunks_exact_mut(scales.len()) {
            for (number, &scale) in numbers.iter_mut().zip(scales) {
                *number = simd.mul_f32s(*number, scale);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(seed: usize) -> f32 {
        let [low, ..] = (seed.wrapping_mul(2_654_435_761) >> 7).to_le_bytes();
        f32::from(low.cast_signed()) / 64.0
    }

    fn matrix(inputs: usize, outputs: usize) -> Matrix {
        let row_bytes = inputs / BLOCK * Kind::Q8_0.block().1;
        let bytes: Vec<u8> = (0..row_bytes * outputs)
            .map(|at| match at % 34 {
                0 => 0x12,
                1 => 0x2c,
                _ => number(at).to_le_bytes()[3] ^ number(at).to_le_bytes()[2],
            })
            .collect();
        let (mut weights, mut scales) = (Vec::new(), Vec::new());
        for tile in bytes.chunks_exact(row_bytes * LANES) {
            pack(Kind::Q8_0, tile, row_bytes, &mut weights, &mut scales);
        }
        let bias = vec![[0.25; LANES]; outputs / LANES];
        Matrix {
            inputs,
            outputs,
            weights,
            scales,
            bias,
        }
    }

    #[test]
    fn products_are_sums_from_the_first_input_to_the_last() {
        let matrix = matrix(64, 32);
        for count in 0..30 {
            let rows: Vec<f32> = (0..64 * count).map(number).collect();
            let products = matrix.times(&rows);
            assert_eq!(products.len(), 32 * count);
            for (at, product) in products.iter().enumerate() {
                let (row, output) = (at / 32, at % 32);
                let mut sum = 0.25_f32;
                for input in 0..64 {
                    let weight =
                        f32::from(matrix.weights[output / LANES * 64 + input][output % LANES]);
                    let scale = matrix.scales[output / LANES * 2 + input / BLOCK][output % LANES];
                    sum = (weight * scale).mul_add(rows[row * 64 + input], sum);
                }
                assert_eq!(
                    sum.to_bits(),
                    product.to_bits(),
                    "{count} rows, row {row}, output {output}"
                );
            }
        }
    }

    #[test]
    fn every_kind_of_processor_gives_the_same_bits() {
        let matrix = matrix(128, 48);
        let rows: Vec<f32> = (0..128 * 17).map(number).collect();
        let fastest = matrix.times(&rows);
        let mut products = vec![0.0; fastest.len()];
        Product {
            matrix: &matrix,
            rows: &rows,
            products: &mut products,
        }
        .with_simd(pulp::Scalar::new());
        assert_eq!(products, fastest);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            let mut products = vec![0.0; fastest.len()];
            let product = Product {
                matrix: &matrix,
                rows: &rows,
                products: &mut products,
            };
            Simd::vectorize(simd, product);
            assert_eq!(products, fastest);
        }
    }
}
