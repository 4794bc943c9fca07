//! The nearest of many vectors, by looking at every one.
//!
//! Hides how rows lie in memory and how they are compared. Nothing is approximate: what is nearest by
//! [`Vector::similarity`] is found. A row is as many bytes as its version has dimensions.

#![expect(
    clippy::inline_always,
    reason = "what is compiled once for each kind of processor has to be inlined there"
)]

use pulp::{Arch, Simd, WithSimd};

use crate::error::VectorError;
use crate::vector::{self, Vector, VectorVersion};

/// Vectors of one version in one block of memory, in the order in which they came.
#[derive(Debug)]
pub struct Shelf {
    version: VectorVersion,
    numbers: Vec<i8>,
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
            numbers: Vec::new(),
            inverse_lengths: Vec::new(),
        }
    }

    /// Reads rows of [`Vector::bytes`] that stand one after the other.
    ///
    /// # Errors
    /// The last row is cut, or one is all zero.
    pub fn from_bytes(version: VectorVersion, bytes: &[u8]) -> Result<Self, VectorError> {
        let expected = version.dimension();
        let mut shelf = Self::new(version);
        shelf.numbers = bytes.iter().map(|byte| byte.cast_signed()).collect();
        let rows = shelf.numbers.chunks_exact(expected.max(1));
        let found = rows.remainder().len();
        let lengths = rows.map(|row| vector::inverse_length(row).ok_or(VectorError::NoDirection));
        shelf.inverse_lengths = lengths.collect::<Result<_, _>>()?;
        if found == 0 {
            Ok(shelf)
        } else {
            Err(VectorError::Dimension { expected, found })
        }
    }

    /// Puts a vector behind the others and returns its row.
    ///
    /// # Errors
    /// It is of another version.
    pub fn push(&mut self, vector: &Vector) -> Result<usize, VectorError> {
        vector.check(self.version)?;
        self.numbers.extend_from_slice(vector.numbers());
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

    /// The `count` rows that are nearest, the nearest first; of equals the one that came first. Looks at every row.
    ///
    /// # Errors
    /// The question is of another version.
    pub fn nearest(&self, question: &Vector, count: usize) -> Result<Vec<Neighbour>, VectorError> {
        question.check(self.version)?;
        let mut products = vec![0; self.len()];
        let wide: Vec<i16> = question
            .numbers()
            .iter()
            .map(|&number| i16::from(number))
            .collect();
        Arch::new().dispatch(Scan {
            question: &wide,
            numbers: &self.numbers,
            products: &mut products,
        });

        let mut nearest: Vec<Neighbour> = Vec::new();
        let mut least = f64::NEG_INFINITY;
        for (row, (&product, inverse)) in products.iter().zip(&self.inverse_lengths).enumerate() {
            let similarity = f64::from(product) * question.inverse_length() * inverse;
            if similarity > least {
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
}

struct Scan<'a> {
    question: &'a [i16],
    numbers: &'a [i8],
    products: &'a mut [i32],
}

impl WithSimd for Scan<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let rows = self.numbers.chunks_exact(self.question.len().max(1));
        for (row, product) in rows.zip(self.products) {
            // The question's numbers are wide already, so that the compiler makes multiply-and-add pairs of this.
            let pairs = row.iter().zip(self.question);
            *product = pairs.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
        }
    }
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

    fn check(dimension: u16, rows: &[Vec<u8>], count: usize) {
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
        // A stable sort: of equals the first stays first.
        all.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        all.truncate(count);
        assert_eq!(shelf.nearest(&vectors[0], count).unwrap(), all);
        let read = Shelf::from_bytes(version, &rows.concat()).unwrap();
        assert_eq!(read.nearest(&vectors[0], count).unwrap(), all);
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_sorting_all_finds(rows in rows(384), count in 0_usize..10) {
            check(384, &rows, count);
        }

        #[test]
        fn other_dimensions_are_searched_as_well(rows in rows(40), count in 0_usize..10) {
            check(40, &rows, count);
        }
    }

    #[test]
    fn the_longest_sums_fit() {
        let version = VectorVersion::new("a model", u16::MAX);
        let lowest = Vector::from_bytes(version, &vec![0x80; 65_535]).unwrap();
        let mut shelf = Shelf::new(version);
        shelf.push(&lowest).unwrap();
        let found = shelf.nearest(&lowest, 1).unwrap();
        assert!((found[0].similarity - 1.0).abs() < 1e-9);
    }

    #[test]
    fn rows_that_are_cut_empty_or_of_another_model_are_refused() {
        let (version, other) = (
            VectorVersion::new("a model", 4),
            VectorVersion::new("another", 4),
        );
        let cut = VectorError::Dimension {
            expected: 4,
            found: 2,
        };
        assert_eq!(
            Shelf::from_bytes(version, &[1, 1, 1, 1, 1, 1]).unwrap_err(),
            cut
        );
        assert_eq!(
            Shelf::from_bytes(version, &[0; 4]).unwrap_err(),
            VectorError::NoDirection
        );
        let stranger = Vector::from_bytes(other, &[1; 4]).unwrap();
        let mut shelf = Shelf::new(version);
        assert!(shelf.push(&stranger).is_err() && shelf.nearest(&stranger, 1).is_err());
        assert!(shelf.is_empty());
    }
}
