//! What a question becomes: a direction in some hundred dimensions, each number a byte.
//!
//! Hides rounding. Numbers are scaled so that the greatest is 127, which costs at most 0.003 of a similarity (a test
//! says so) and a fourth of the memory. Vectors of different models never meet: each names its [`VectorVersion`].

use std::fmt;

use sha2::{Digest, Sha256};

use crate::error::VectorError;
use crate::lanes;

/// Which model made a vector, and how many numbers it has. Equal only for the same files or the same remote model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VectorVersion {
    /// Of what makes it: the first bytes of a SHA-256.
    digest: [u8; 8],
    dimension: u16,
}

impl VectorVersion {
    /// `maker` tells the model from all others: checksums of its files, or an endpoint and a model's name.
    pub(crate) fn new(maker: &str, dimension: u16) -> Self {
        let digest: [u8; 32] = Sha256::digest(maker.as_bytes()).into();
        Self {
            digest: digest.first_chunk().copied().unwrap_or_default(),
            dimension,
        }
    }

    /// How many numbers such a vector has.
    pub fn dimension(self) -> usize {
        usize::from(self.dimension)
    }
}

/// 16 hexadecimal digits, `x` and the dimension: to be stored beside vectors and compared as text.
impl fmt::Display for VectorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = u64::from_be_bytes(self.digest);
        write!(f, "{digest:016x}x{}", self.dimension)
    }
}

/// A direction. Two of one version compare by [`similarity`](Self::similarity).
#[derive(Clone, PartialEq)]
pub struct Vector {
    version: VectorVersion,
    numbers: Box<[i8]>,
    /// 1 / length of `numbers`.
    inverse_length: f64,
}

/// Without the numbers: they tell what a learner asked.
impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vector({})", self.version)
    }
}

impl Vector {
    /// Rounds numbers of any length other than zero.
    ///
    /// # Errors
    /// Not as many as the version says, or no direction in them.
    pub(crate) fn round(version: VectorVersion, numbers: &[f32]) -> Result<Self, VectorError> {
        let greatest = numbers
            .iter()
            .fold(0.0_f32, |greatest, number| greatest.max(number.abs()));
        // `max` passes over what is not a number.
        if !numbers.iter().all(|number| number.is_finite()) || greatest < f32::MIN_POSITIVE {
            return Err(VectorError::NoDirection);
        }
        let bytes = numbers
            .iter()
            .map(|number| lanes::round_to_i8(number / greatest * 127.0));
        Self::from_numbers(version, bytes.collect())
    }

    /// Reads what [`bytes`](Self::bytes) wrote.
    ///
    /// # Errors
    /// Not as many as the version says, or all zero.
    pub fn from_bytes(version: VectorVersion, bytes: &[u8]) -> Result<Self, VectorError> {
        Self::from_numbers(
            version,
            bytes.iter().map(|byte| byte.cast_signed()).collect(),
        )
    }

    fn from_numbers(version: VectorVersion, numbers: Box<[i8]>) -> Result<Self, VectorError> {
        if numbers.len() != version.dimension() {
            return Err(VectorError::Dimension {
                expected: version.dimension(),
                found: numbers.len(),
            });
        }
        let inverse_length = inverse_length(&numbers).ok_or(VectorError::NoDirection)?;
        Ok(Self {
            version,
            numbers,
            inverse_length,
        })
    }

    /// One byte for each dimension, to be stored.
    pub fn bytes(&self) -> Vec<u8> {
        self.numbers
            .iter()
            .map(|number| number.cast_unsigned())
            .collect()
    }

    /// Which model made it.
    pub fn version(&self) -> VectorVersion {
        self.version
    }

    /// The cosine of the angle between the two: from -1 to 1, where 1 is the same direction.
    ///
    /// # Errors
    /// They are of different versions.
    pub fn similarity(&self, other: &Self) -> Result<f64, VectorError> {
        other.check(self.version)?;
        let product: i32 = self
            .numbers
            .iter()
            .zip(&other.numbers)
            .map(|(&a, &b)| i32::from(a) * i32::from(b))
            .sum();
        Ok(f64::from(product) * self.inverse_length * other.inverse_length)
    }

    pub(crate) fn check(&self, expected: VectorVersion) -> Result<(), VectorError> {
        let found = self.version;
        if found == expected {
            Ok(())
        } else {
            Err(VectorError::Version { expected, found })
        }
    }

    pub(crate) fn numbers(&self) -> &[i8] {
        &self.numbers
    }

    pub(crate) fn inverse_length(&self) -> f64 {
        self.inverse_length
    }
}

/// `None` for zero. A version has at most 65,535 dimensions, so that sums fit into 31 bits.
pub(crate) fn inverse_length(numbers: &[i8]) -> Option<f64> {
    let square: i32 = numbers
        .iter()
        .map(|&number| i32::from(number) * i32::from(number))
        .sum();
    (square > 0).then(|| 1.0 / f64::from(square).sqrt())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version() -> VectorVersion {
        VectorVersion::new("a model", 384)
    }

    fn exact(a: &[f32], b: &[f32]) -> f64 {
        let product = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum()
        };
        product(a, b) / (product(a, a) * product(b, b)).sqrt()
    }

    /// Like those of a model: sums of many small things.
    fn direction() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(
            prop::array::uniform8(-1.0_f32..1.0).prop_map(|small| small.iter().sum()),
            384,
        )
    }

    proptest! {
        #[test]
        fn rounding_costs_little_of_a_similarity(a in direction(), b in direction(), nearness in 0.0_f32..20.0) {
            let b: Vec<f32> = a.iter().zip(b).map(|(a, b)| a * nearness + b).collect();
            let (one, other) = (Vector::round(version(), &a).unwrap(), Vector::round(version(), &b).unwrap());
            let rounded = one.similarity(&other).unwrap();
            prop_assert!((rounded - exact(&a, &b)).abs() < 0.003, "{rounded} {}", exact(&a, &b));
        }

        #[test]
        fn bytes_are_read_back(numbers in direction()) {
            let vector = Vector::round(version(), &numbers).unwrap();
            prop_assert_eq!(Vector::from_bytes(version(), &vector.bytes()).unwrap(), vector);
        }

        #[test]
        fn no_numbers_cause_a_panic(numbers in prop::collection::vec(any::<f32>(), 384)) {
            if let Ok(vector) = Vector::round(version(), &numbers) {
                prop_assert!((vector.similarity(&vector).unwrap() - 1.0).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn what_points_nowhere_is_refused() {
        for number in [0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut numbers = vec![0.0; 384];
            numbers[7] = number;
            assert_eq!(
                Vector::round(version(), &numbers),
                Err(VectorError::NoDirection),
                "{number}"
            );
        }
        assert_eq!(
            Vector::from_bytes(version(), &[0; 384]),
            Err(VectorError::NoDirection)
        );
        let short = VectorError::Dimension {
            expected: 384,
            found: 3,
        };
        assert_eq!(Vector::from_bytes(version(), &[1, 2, 3]), Err(short));
    }

    #[test]
    fn vectors_of_two_models_do_not_compare() {
        let other = VectorVersion::new("another model", 384);
        let one = Vector::from_bytes(version(), &[1; 384]).unwrap();
        let another = Vector::from_bytes(other, &[1; 384]).unwrap();
        let refused = VectorError::Version {
            expected: version(),
            found: other,
        };
        assert_eq!(one.similarity(&another), Err(refused));
        assert_eq!(version().to_string().len(), 20);
    }
}
