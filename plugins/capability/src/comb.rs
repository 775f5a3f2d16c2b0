//! Multiples of one point, kept so that its product with a number needs few doublings.
//!
//! The number is written in signed digits of `WIDTH` bits. Row i of a comb holds the
//! multiples 1 to 2^(WIDTH-1) of 2^(WIDTH * ROUNDS * i) times the point, so that a round is one
//! addition for each row and only the rounds share doublings (Lim and Lee, CRYPTO 1994).
//!
//! **Time depends on the number.** Which entry is read, and whether one is, follows the digits.
//! So a comb verifies and never signs: every number that comes here is the `S` of a signature or
//! the hash over `R`, key and message, both computed from bytes that the sender knows, and every
//! point is a public key or the base point. Nothing outside of [`crate::tables`] makes one.

use std::ops::{Add, Sub};

use curve25519_dalek::traits::Identity;
use curve25519_dalek::{EdwardsPoint, Scalar};

/// Most digits of a number: 253 bits in digits of 6.
const DIGITS: usize = 43;

/// A comb with no doubling: 64 additions for a verification.
pub(crate) type Full = Comb<8, 1>;
/// A comb that is small and soon made.
pub(crate) type Small = Comb<6, 9>;

/// Multiples of one point.
pub(crate) struct Comb<const WIDTH: usize, const ROUNDS: usize> {
    rows: Vec<EdwardsPoint>,
}

impl<const WIDTH: usize, const ROUNDS: usize> Comb<WIDTH, ROUNDS> {
    const HALF: usize = {
        // A shift is some multiplications by 8.
        assert!(ROUNDS == 1 || WIDTH.is_multiple_of(3));
        assert!(WIDTH >= 6 && WIDTH <= 8);
        1 << (WIDTH - 1)
    };
    const ROWS: usize = 253_usize.div_ceil(WIDTH).div_ceil(ROUNDS);

    /// The comb of a point.
    pub(crate) fn new(point: &EdwardsPoint) -> Self {
        let mut rows = Vec::with_capacity(Self::HALF.saturating_mul(Self::ROWS));
        let mut first = *point;
        for _ in 0..Self::ROWS {
            let mut last = first;
            for _ in 0..Self::HALF {
                rows.push(last);
                last = last.add(&first);
            }
            first = Self::next_row(&rows, first);
        }
        Self { rows }
    }

    /// The first entry of the row behind the one that ends the list.
    fn next_row(rows: &[EdwardsPoint], first: EdwardsPoint) -> EdwardsPoint {
        if ROUNDS == 1 {
            // 2^WIDTH is twice the last entry.
            return rows.last().map_or(first, |half| half.add(half));
        }
        (0..ROUNDS).fold(first, |point, _| Self::shifted(&point))
    }

    /// 2^WIDTH times a point.
    fn shifted(point: &EdwardsPoint) -> EdwardsPoint {
        (0..WIDTH / 3).fold(*point, |point, _| point.mul_by_cofactor())
    }

    /// `number` times the point.
    pub(crate) fn times(&self, number: &Scalar) -> EdwardsPoint {
        let digits = digits::<WIDTH>(number);
        let mut sum = EdwardsPoint::identity();
        for round in (0..ROUNDS).rev() {
            if round.saturating_add(1) < ROUNDS {
                sum = Self::shifted(&sum);
            }
            let digits = digits.iter().skip(round).step_by(ROUNDS);
            for (row, digit) in self.rows.chunks_exact(Self::HALF).zip(digits) {
                let entry = usize::from(digit.unsigned_abs()).checked_sub(1);
                let Some(entry) = entry.and_then(|at| row.get(at)) else { continue };
                sum = if *digit > 0 { sum.add(entry) } else { sum.sub(entry) };
            }
        }
        sum
    }
}

/// Digits between -2^(WIDTH-1) and 2^(WIDTH-1), least first. A number below the group order has
/// 253 bits and leaves nothing to carry behind the last.
fn digits<const WIDTH: usize>(number: &Scalar) -> [i16; DIGITS] {
    let mut bytes = [0; 36];
    bytes.iter_mut().zip(number.as_bytes()).for_each(|(to, from)| *to = *from);
    let bits = u32::try_from(WIDTH).unwrap_or(0);
    let (whole, mask) = (1_i16.wrapping_shl(bits), 1_u16.wrapping_shl(bits).wrapping_sub(1));
    let (mut digits, mut carry) = ([0; DIGITS], 0_i16);
    for (at, digit) in digits.iter_mut().take(253_usize.div_ceil(WIDTH)).enumerate() {
        let bit = at.saturating_mul(WIDTH);
        let pair = bytes.get(bit / 8..).and_then(|rest| rest.first_chunk::<2>());
        let pair = pair.map_or(0, |pair| u16::from_le_bytes(*pair));
        let window = pair.wrapping_shr(u32::try_from(bit % 8).unwrap_or(0)) & mask;
        let window = i16::try_from(window).unwrap_or(0);
        *digit = window.saturating_add(carry);
        carry = i16::from(*digit > whole / 2);
        *digit = digit.saturating_sub(carry.saturating_mul(whole));
    }
    digits
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> Vec<Scalar> {
        let small = [0_u64, 1, 2, 31, 32, 33, 63, 64, 127, 128, 129, 255, 256, 65_535, 65_536];
        let small = small.map(Scalar::from);
        let edges = [[0x80; 32], [0x7f; 32], [0xff; 32], [0x20; 32], [0x1f; 32], [0x88; 32]];
        let edges = edges.map(Scalar::from_bytes_mod_order);
        // Negative ones lie close below the group order.
        small.iter().chain(&edges).flat_map(|number| [*number, -number]).collect()
    }

    fn is_the_product(point: &EdwardsPoint, numbers: &[Scalar]) {
        let (full, small) = (Full::new(point), Small::new(point));
        for number in numbers {
            let product = point * number;
            assert_eq!(full.times(number), product, "{number:?}");
            assert_eq!(small.times(number), product, "{number:?}");
        }
    }

    #[test]
    fn times_is_the_product_at_the_edges_of_digits() {
        let base = ED25519_BASEPOINT_POINT;
        is_the_product(&base, &numbers());
        is_the_product(&-base, &numbers());
        // A point that is not in the group of prime order: keys may have such a part.
        is_the_product(&(base + EIGHT_TORSION[1]), &numbers());
        is_the_product(&EIGHT_TORSION[1], &numbers());
    }

    #[test]
    fn every_row_and_entry_is_the_multiple_that_it_stands_for() {
        let base = ED25519_BASEPOINT_POINT;
        let full = Full::new(&base);
        assert_eq!(full.rows.len(), 32 * 128);
        for (at, entry) in full.rows.iter().enumerate().step_by(61) {
            let shift = (0..at / 128).fold(Scalar::ONE, |sum, _| sum * Scalar::from(256_u64));
            assert_eq!(*entry, base * (shift * Scalar::from((at % 128) as u64 + 1)), "{at}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn times_is_the_product(point: [u8; 32], numbers: [[u8; 32]; 8]) {
            let point = ED25519_BASEPOINT_POINT * Scalar::from_bytes_mod_order(point);
            is_the_product(&point, &numbers.map(Scalar::from_bytes_mod_order));
        }

        #[test]
        fn digits_are_those_of_the_number(number: [u8; 32]) {
            let number = Scalar::from_bytes_mod_order(number);
            for (width, digits) in [(8, digits::<8>(&number)), (6, digits::<6>(&number))] {
                let whole = Scalar::from(1_u64 << width);
                let signed = |digit: &i16| {
                    let size = Scalar::from(u64::from(digit.unsigned_abs()));
                    if *digit < 0 { -size } else { size }
                };
                let sum = digits.iter().rev().fold(Scalar::ZERO, |sum, d| sum * whole + signed(d));
                prop_assert_eq!(sum, number);
                prop_assert!(digits.iter().all(|d| d.abs() <= 1 << (width - 1)));
            }
        }
    }
}
