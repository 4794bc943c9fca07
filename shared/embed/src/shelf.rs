//! The nearest of many vectors, by looking at every one.
//!
//! Hides how rows lie in memory and how they are compared. Nothing is approximate: what is nearest by
//! [`Vector::similarity`] is found. A row takes as many bytes as its version has dimensions, and 16.

#![expect(
    clippy::inline_always,
    reason = "what is compiled once for each kind of processor has to be inlined there"
)]

use pulp::{Arch, Simd, WithSimd};

use crate::error::VectorError;
use crate::vector::{Vector, VectorVersion};

/// How much of a row is its head: in thirds.
const HEAD_THIRDS: usize = 2;
/// What rounding may take from a bound.
const SLACK: f64 = 1e-9;

/// Vectors of one version, in the order in which they came.
///
/// Each row is cut in two, and all heads stand in one block of memory: what a row's tail can add to the product of
/// the heads is at most the product of the tails' lengths (Cauchy and Schwarz), so that most tails are never read.
#[derive(Debug)]
pub struct Shelf {
    version: VectorVersion,
    heads: Vec<i8>,
    tails: Vec<i8>,
    tail_lengths: Vec<f64>,
    inverse_lengths: Vec<f64>,
}

/// A row of a shelf that is near.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Which one, from 0.
    pub row: usize,
    /// The cosine of the angle, from -1 to 1.
    pub similarity: f64,
}

impl Shelf {
    /// Without rows.
    pub fn new(version: VectorVersion) -> Self {
        Self {
            version,
            heads: Vec::new(),
            tails: Vec::new(),
            tail_lengths: Vec::new(),
            inverse_lengths: Vec::new(),
        }
    }

    /// Puts a vector behind the others and returns its row.
    ///
    /// # Errors
    /// It is of another version.
    pub fn push(&mut self, vector: &Vector) -> Result<usize, VectorError> {
        vector.check(self.version)?;
        let (head, tail) = self.cut(vector.numbers());
        self.heads.extend_from_slice(head);
        self.tails.extend_from_slice(tail);
        self.tail_lengths.push(length(tail));
        self.inverse_lengths.push(vector.inverse_length());
        Ok(self.inverse_lengths.len() - 1)
    }

    /// What its vectors are of.
    pub fn version(&self) -> VectorVersion {
        self.version
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.inverse_lengths.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inverse_lengths.is_empty()
    }

    /// The `count` rows that are nearest of those that are at least so alike, the nearest first; of equals the one
    /// that came first. Looks at every row.
    ///
    /// # Errors
    /// The question is of another version.
    pub fn nearest(
        &self,
        question: &Vector,
        count: usize,
        similarity_min: f64,
    ) -> Result<Vec<Neighbour>, VectorError> {
        question.check(self.version)?;
        let wide: Vec<i16> = question.numbers().iter().copied().map(i16::from).collect();
        let (head, tail) = self.cut(&wide);
        let (_, narrow_tail) = self.cut(question.numbers());
        let mut products = vec![0; self.len()];
        Arch::new().dispatch(Heads {
            question: head,
            heads: &self.heads,
            products: &mut products,
        });

        let tail_length = length(narrow_tail);
        let scales = self.inverse_lengths.iter().zip(&self.tail_lengths);
        let rows = products.into_iter().zip(scales).enumerate();
        let may_be_near = rows.filter_map(|(row, (product, (inverse, length)))| {
            let product_max = f64::from(product) + tail_length * length;
            let similarity_max = product_max * question.inverse_length() * inverse;
            (similarity_max >= similarity_min - SLACK).then_some((row, product, *inverse))
        });
        let mut rows: Vec<(usize, i32, f64)> = may_be_near.collect();
        Arch::new().dispatch(Tails {
            question: tail,
            tails: &self.tails,
            rows: &mut rows,
        });

        let mut nearest: Vec<Neighbour> = Vec::new();
        let mut least = f64::NEG_INFINITY;
        for (row, product, inverse) in rows {
            let similarity = f64::from(product) * question.inverse_length() * inverse;
            if similarity >= similarity_min && similarity > least {
                let place = nearest.partition_point(|other| other.similarity >= similarity);
                nearest.insert(place, Neighbour { row, similarity });
                nearest.truncate(count);
                if nearest.len() == count {
                    least = nearest.last().map_or(f64::INFINITY, |last| last.similarity);
                }
            }
        }
        Ok(nearest)
    }

    fn cut<'a, T>(&self, row: &'a [T]) -> (&'a [T], &'a [T]) {
        row.split_at(self.version.dimension() * HEAD_THIRDS / 3)
    }
}

/// The square root of the sum of squares.
fn length(numbers: &[i8]) -> f64 {
    let squares = numbers.iter().map(|&number| i32::from(number).pow(2));
    f64::from(squares.sum::<i32>()).sqrt()
}

/// The products of all heads with the question's.
struct Heads<'a> {
    question: &'a [i16],
    heads: &'a [i8],
    products: &'a mut [i32],
}

impl WithSimd for Heads<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let heads = self.heads.chunks_exact(self.question.len().max(1));
        for (head, to) in heads.zip(self.products) {
            *to = product(head, self.question);
        }
    }
}

/// Adds the products of the tails of some rows.
struct Tails<'a> {
    question: &'a [i16],
    tails: &'a [i8],
    rows: &'a mut [(usize, i32, f64)],
}

impl WithSimd for Tails<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let length = self.question.len();
        for (row, sum, _) in self.rows {
            let tail = self.tails.get(*row * length..).unwrap_or_default();
            *sum += product(tail, self.question);
        }
    }
}

/// The question's numbers are wide already, so that the compiler makes multiply-and-add pairs of this.
#[inline(always)]
fn product(row: &[i8], question: &[i16]) -> i32 {
    let pairs = row.iter().zip(question);
    pairs.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(dimension: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
        // A byte that is never zero, so that every row has a direction.
        let row = (1_u8.., prop::collection::vec(any::<u8>(), dimension - 1));
        prop::collection::vec(
            row.prop_map(|(first, rest)| [&[first], &rest[..]].concat()),
            1..60,
        )
    }

    fn check(dimension: u16, rows: &[Vec<u8>], count: usize, similarity_min: f64) {
        let version = VectorVersion::new("a model", dimension);
        let vectors: Vec<Vector> = rows
            .iter()
            .map(|row| Vector::from_bytes(version, row).unwrap())
            .collect();
        let mut shelf = Shelf::new(version);
        for (row, vector) in vectors.iter().enumerate() {
            assert_eq!(shelf.push(vector), Ok(row));
        }
        let mut all: Vec<Neighbour> = vectors
            .iter()
            .enumerate()
            .map(|(row, vector)| Neighbour {
                row,
                similarity: vectors[0].similarity(vector).unwrap(),
            })
            .collect();
        all.retain(|neighbour| neighbour.similarity >= similarity_min);
        // A stable sort: of equals the first stays first.
        all.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        all.truncate(count);
        let found = shelf.nearest(&vectors[0], count, similarity_min);
        assert_eq!(found.unwrap(), all);
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_sorting_all_finds(
            rows in rows(384),
            count in 0_usize..10,
            similarity_min in -1.1..1.1,
        ) {
            check(384, &rows, count, similarity_min);
        }

        #[test]
        fn other_dimensions_are_searched_as_well(
            rows in rows(40),
            count in 0_usize..10,
            similarity_min in -1.1..1.1,
        ) {
            check(40, &rows, count, similarity_min);
        }
    }

    #[test]
    fn a_vector_of_one_number_has_no_head() {
        check(1, &[vec![1], vec![0xff], vec![2]], 3, -1.0);
    }

    #[test]
    fn the_longest_sums_fit() {
        let version = VectorVersion::new("a model", u16::MAX);
        let lowest = Vector::from_bytes(version, &vec![0x80; 65_535]).unwrap();
        let mut shelf = Shelf::new(version);
        shelf.push(&lowest).unwrap();
        let found = shelf.nearest(&lowest, 1, 0.5).unwrap();
        assert!((found[0].similarity - 1.0).abs() < 1e-9);
    }

    #[test]
    fn rows_and_questions_of_another_model_are_refused() {
        let (version, other) = (
            VectorVersion::new("a model", 4),
            VectorVersion::new("another", 4),
        );
        let stranger = Vector::from_bytes(other, &[1; 4]).unwrap();
        let mut shelf = Shelf::new(version);
        assert!(shelf.push(&stranger).is_err() && shelf.nearest(&stranger, 1, 0.5).is_err());
        assert!(shelf.is_empty());
    }
}
