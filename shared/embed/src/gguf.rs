//! Reads GGUF, the container of the weights: named tensors of f32, `Q4_0` or `Q8_0`.
//!
//! Hides the format (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, version 3). Metadata is skipped:
//! the shapes say all that is needed, and a tensor of another shape is refused. Blocks are ggml's: a scale in f16 and
//! 32 weights, in 4 bits less 8 (the low halves of 16 bytes first) or in 8.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::OpenError;

/// Weights in a block, all under one scale.
pub(crate) const BLOCK: usize = 32;
const ALIGNMENT: u64 = 32;
/// More than either file has; what claims more is no file of ours.
const COUNT_MAX: u64 = 10_000;
const STRING_BYTES_MAX: u64 = 64 * 1024;

/// How a tensor's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    F32,
    Q4_0,
    Q8_0,
}

impl Kind {
    /// Numbers that are stored together, and the bytes that they take.
    pub(crate) fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::Q4_0 => (BLOCK, 2 + BLOCK / 2),
            Self::Q8_0 => (BLOCK, 2 + BLOCK),
        }
    }
}

#[derive(Debug)]
struct Tensor {
    kind: Kind,
    /// Innermost first, as in the file: inputs, then outputs.
    shape: Vec<u64>,
    offset: u64,
}

/// An open file of tensors.
#[derive(Debug)]
pub(crate) struct Gguf {
    name: String,
    file: BufReader<File>,
    tensors: HashMap<String, Tensor>,
    data_offset: u64,
}

impl Gguf {
    /// Reads the table of tensors.
    pub(crate) fn open(folder: &Path, name: &str) -> Result<Self, OpenError> {
        let path = folder.join(name);
        let file = File::open(&path).map_err(|source| OpenError::Unreadable { path, source })?;
        let mut gguf = Self {
            name: name.to_owned(),
            file: BufReader::new(file),
            tensors: HashMap::new(),
            data_offset: 0,
        };
        let read = gguf.read_table();
        read.map_err(|problem| OpenError::damaged(name, problem))?;
        Ok(gguf)
    }

    fn read_table(&mut self) -> Result<(), String> {
        if self.u32()? != u32::from_le_bytes(*b"GGUF") || self.u32()? != 3 {
            return Err("not GGUF 3".to_owned());
        }
        let (tensors, values) = (self.u64()?, self.u64()?);
        if tensors > COUNT_MAX || values > COUNT_MAX {
            return Err(format!("{tensors} tensors and {values} values"));
        }
        for _ in 0..values {
            self.string()?;
            self.skip_value()?;
        }
        for _ in 0..tensors {
            let name = self.string()?;
            let dimensions = self.u32()?;
            if dimensions > 4 {
                return Err(format!("{name} has {dimensions} dimensions"));
            }
            let shape = (0..dimensions)
                .map(|_| self.u64())
                .collect::<Result<_, _>>()?;
            let kind = match self.u32()? {
                0 => Kind::F32,
                2 => Kind::Q4_0,
                8 => Kind::Q8_0,
                other => return Err(format!("{name} is of type {other}")),
            };
            let offset = self.u64()?;
            let tensor = Tensor {
                kind,
                shape,
                offset,
            };
            self.tensors.insert(name, tensor);
        }
        let position = self
            .file
            .stream_position()
            .map_err(|error| error.to_string())?;
        self.data_offset = position.next_multiple_of(ALIGNMENT);
        Ok(())
    }

    /// The bytes of a tensor of this shape, innermost dimension first, and how to read them.
    pub(crate) fn blocks(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<(Kind, Vec<u8>), OpenError> {
        let read = self.read_blocks(name, shape);
        read.map_err(|problem| OpenError::damaged(&self.name, format!("{name}: {problem}")))
    }

    fn read_blocks(&mut self, name: &str, shape: &[usize]) -> Result<(Kind, Vec<u8>), String> {
        let tensor = self.tensors.get(name).ok_or("is missing")?;
        let kind = tensor.kind;
        let found = tensor.shape.iter().map(|&size| usize::try_from(size));
        if !found.eq(shape.iter().map(|&size| Ok(size))) {
            return Err(format!(
                "has the shape {:?} instead of {shape:?}",
                tensor.shape
            ));
        }
        let (numbers, bytes) = kind.block();
        if !shape
            .first()
            .is_some_and(|inner| inner.is_multiple_of(numbers))
        {
            return Err("has rows that are no whole blocks".to_owned());
        }
        let start = self.data_offset.saturating_add(tensor.offset);
        let mut blocks = vec![0; shape.iter().product::<usize>() / numbers * bytes];
        let seek = self.file.seek(SeekFrom::Start(start));
        let read = seek.and_then(|_| self.file.read_exact(&mut blocks));
        read.map_err(|error| error.to_string())?;
        Ok((kind, blocks))
    }

    /// The numbers of a tensor in f32.
    pub(crate) fn numbers(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, OpenError> {
        let (kind, bytes) = self.blocks(name, shape)?;
        if kind != Kind::F32 {
            return Err(OpenError::damaged(
                &self.name,
                format!("{name} is not in f32"),
            ));
        }
        Ok(f32s(&bytes))
    }

    fn skip_value(&mut self) -> Result<(), String> {
        let kind = self.u32()?;
        self.skip(kind)
    }

    fn skip(&mut self, kind: u32) -> Result<(), String> {
        match kind {
            0 | 1 | 7 => self.bytes::<1>().map(drop),
            2 | 3 => self.bytes::<2>().map(drop),
            4..=6 => self.bytes::<4>().map(drop),
            8 => self.string().map(drop),
            10..=12 => self.bytes::<8>().map(drop),
            other => Err(format!("a value of type {other}")),
        }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        let read = self.file.read_exact(&mut bytes);
        read.map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn string(&mut self) -> Result<String, String> {
        let length = self.u64()?;
        if length > STRING_BYTES_MAX {
            return Err(format!("a name of {length} bytes"));
        }
        let mut text = String::new();
        let read = (&mut self.file).take(length).read_to_string(&mut text);
        read.map_err(|error| error.to_string())?;
        Ok(text)
    }
}

/// Little-endian f32.
pub(crate) fn f32s(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _rest) = bytes.as_chunks::<4>();
    numbers
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect()
}

/// The scale and the 32 weights of one block; a block that is cut is zero.
pub(crate) fn block(kind: Kind, bytes: &[u8]) -> (f32, [i8; BLOCK]) {
    let mut weights = [0; BLOCK];
    let Some((scale, packed)) = bytes.split_first_chunk::<2>() else {
        return (0.0, weights);
    };
    match kind {
        Kind::Q4_0 => {
            let (low, high) = weights.split_at_mut(BLOCK / 2);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(packed) {
                *low = (byte & 15).cast_signed() - 8;
                *high = (byte >> 4).cast_signed() - 8;
            }
        }
        Kind::Q8_0 => {
            for (weight, byte) in weights.iter_mut().zip(packed) {
                *weight = byte.cast_signed();
            }
        }
        Kind::F32 => {}
    }
    (half(u16::from_le_bytes(*scale)), weights)
}

/// IEEE 754 half precision, exactly.
pub(crate) fn half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // The exponent's bias is 15 there and 127 here; multiplying also puts subnormal numbers right.
    let number = f32::from_bits(magnitude) * f32::from_bits((127 + 127 - 15) << 23);
    let number = if bits & 0x7c00 == 0x7c00 {
        f32::from_bits(magnitude | 0x7f80_0000)
    } else {
        number
    };
    f32::from_bits(number.to_bits() | sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_read_exactly() {
        for (bits, number) in [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x7bff, 65_504.0),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(half(bits).to_bits(), f32::to_bits(number), "{bits:04x}");
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn four_bit_blocks_hold_the_low_halves_first() {
        let mut bytes = vec![0x00, 0x3c];
        bytes.extend((0..16).map(|at| at | (15 - at) << 4));
        let (scale, weights) = block(Kind::Q4_0, &bytes);
        assert_eq!(scale.to_bits(), 1_f32.to_bits());
        let expected: Vec<i8> = (-8..8).chain((-8..8).rev()).collect();
        assert_eq!(weights.to_vec(), expected);
    }
}
