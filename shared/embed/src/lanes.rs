//! Numbers side by side, as a processor's vectors take them: exponential, GELU, layer norm, softmax.
//!
//! Hides that. Every sum is made of sixteen sums side by side, in one order, so that narrow and wide vectors give the
//! same bits. Where the processor has a fused multiply and add it is used, and elsewhere imitated: slow, but the same.

#![expect(
    clippy::inline_always,
    reason = "what is compiled once for each kind of processor has to be inlined there"
)]

/// Numbers that are worked on side by side.
pub(crate) const LANES: usize = 16;

/// e to the power of `x`, to 1.2e-7 of its value; below -87 about 1e-38.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // x = n ln 2 + r; the polynomial for e^r is that of Cephes (expf.c).
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the nearest whole number in the low bits
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2_HIGH, x);
    let r = n.mul_add(-LN_2_LOW, r);
    let p = 1.987_569_1e-4_f32
        .mul_add(r, 1.398_199_9e-3)
        .mul_add(r, 8.333_452e-3)
        .mul_add(r, 4.166_579_6e-2)
        .mul_add(r, 0.166_666_65)
        .mul_add(r, 0.5)
        .mul_add(r * r, r + 1.0);
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// `x` times the share of a normal distribution below it, with the error function of Abramowitz and Stegun 7.1.26
/// (off by 1.5e-7).
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / z.mul_add(0.327_591_1, 1.0);
    let p = 1.061_405_4_f32
        .mul_add(t, -1.453_152)
        .mul_add(t, 1.421_413_7)
        .mul_add(t, -0.284_496_72)
        .mul_add(t, 0.254_829_6)
        * t;
    let erf = p.mul_add(-exp(-z * z), 1.0);
    0.5 * x * (1.0 + erf.copysign(x))
}

#[inline(always)]
pub(crate) fn gelu_all(numbers: &mut [f32]) {
    for number in numbers {
        *number = gelu(*number);
    }
}

/// The sum of `of(x)`.
#[inline(always)]
fn sum(numbers: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, &number) in sums.iter_mut().zip(chunk) {
            *sum += of(number);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|&number| of(number)).sum::<f32>()
}

/// Gives each row mean 0 and variance 1, then scales and shifts it.
#[inline(always)]
pub(crate) fn norm(row: &mut [f32], weight: &[f32], bias: &[f32], count: f32) {
    const EPSILON: f32 = 1e-12;
    let mean = sum(row, |number| number) / count;
    let variance = sum(row, |number| (number - mean) * (number - mean)) / count;
    let scale = 1.0 / (variance + EPSILON).sqrt();
    for ((number, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
        *number = ((*number - mean) * scale).mul_add(*weight, *bias);
    }
}

/// Makes shares of scores: positive, of sum 1.
#[inline(always)]
pub(crate) fn softmax(scores: &mut [f32]) {
    let highest = scores.iter().fold(
        f32::MIN,
        |highest, &score| if score > highest { score } else { highest },
    );
    for score in scores.iter_mut() {
        *score = exp(*score - highest);
    }
    let scale = 1.0 / sum(scores, |score| score);
    for score in scores {
        *score *= scale;
    }
}

/// Adds `factor` times the row.
#[inline(always)]
pub(crate) fn add_scaled(to: &mut [f32], factor: f32, row: &[f32]) {
    for (to, number) in to.iter_mut().zip(row) {
        *to = number.mul_add(factor, *to);
    }
}

/// The nearest whole number of one between -128 and 127.
pub(crate) fn round_to_i8(number: f32) -> i8 {
    // 1.5 * 2^23: adding it leaves the nearest whole number in the low bits.
    let [low, ..] = (number + 12_582_912.0).to_bits().to_le_bytes();
    low.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_gelu_are_as_near_as_they_say() {
        for step in -8_000_i16..8_000 {
            let x = f32::from(step) / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.5e-7, "exp({x})");
        }
        // From tables of the normal distribution.
        for (x, share) in [
            (0.0, 0.5),
            (1.0, 0.841_344_8),
            (-1.0, 0.158_655_25),
            (2.5, 0.993_790_3),
            (-6.0, 9.87e-10),
        ] {
            assert!((gelu(x) - x * share).abs() < 1e-6, "gelu({x})");
        }
    }

    #[test]
    fn shares_sum_to_one_and_what_is_nowhere_gets_none() {
        let mut scores = [3.0, -1e30, 3.0, 2.0];
        softmax(&mut scores);
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(scores[1] < 1e-30 && scores[0] > scores[3]);
    }

    #[test]
    fn whole_numbers_round_to_themselves() {
        for number in i8::MIN..=i8::MAX {
            assert_eq!(round_to_i8(f32::from(number)), number);
            assert_eq!(round_to_i8(f32::from(number) + 0.4), number);
        }
    }
}
