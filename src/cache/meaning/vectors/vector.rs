//! A vector of unit length.
//!
//! Owns what numbers make a vector, and the similarity of two. Does not know what they stand for. Fails with
//! a [`VectorError`].

use std::fmt;

/// More numbers than any embedding model gives.
pub const MAX_DIMENSIONS: usize = 16_384;

/// As many products are summed side by side, in registers of any width that a CPU has. A single sum would have
/// to be added in the order in which it is written.
const LANES: usize = 16;

/// A direction: its length is 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector(Box<[f32]>);

/// Why numbers are no vector, or two vectors cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorError {
    /// There are none.
    Empty,
    /// There are more than [`MAX_DIMENSIONS`].
    TooLong,
    /// One of them is infinite or not a number.
    NotFinite,
    /// They have no direction: all are zero.
    Zero,
    /// The two have different dimensions.
    Dimension {
        /// That of the scope.
        expected: usize,
        /// That of the other.
        found: usize,
    },
}

impl Vector {
    /// Brings numbers to unit length.
    ///
    /// # Errors
    /// All of [`VectorError`] but the dimension.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a part of a unit vector is small"
    )]
    pub fn new(numbers: &[f32]) -> Result<Self, VectorError> {
        match numbers.len() {
            0 => return Err(VectorError::Empty),
            longer if longer > MAX_DIMENSIONS => return Err(VectorError::TooLong),
            _ => {}
        }
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(VectorError::NotFinite);
        }
        // In doubles no square of a single overflows or vanishes.
        let squares = numbers.iter().map(|number| f64::from(*number).powi(2));
        let length = squares.sum::<f64>().sqrt();
        if length == 0.0 {
            return Err(VectorError::Zero);
        }
        let unit = numbers
            .iter()
            .map(|number| (f64::from(*number) / length) as f32);
        Ok(Self(unit.collect()))
    }

    /// The cosine of the angle between two vectors of one dimension, from -1 to 1. Of two dimensions, it means
    /// nothing.
    pub fn similarity(&self, other: &Self) -> f32 {
        dot(&self.0, &other.0).clamp(-1.0, 1.0)
    }

    /// Its numbers.
    pub fn numbers(&self) -> &[f32] {
        &self.0
    }

    /// Whether another one has the same dimension.
    pub(super) fn check_dimension(&self, other: &Self) -> Result<(), VectorError> {
        let (expected, found) = (self.0.len(), other.0.len());
        match expected == found {
            true => Ok(()),
            false => Err(VectorError::Dimension { expected, found }),
        }
    }

    /// What its numbers take.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    let (ones, one_rest) = one.as_chunks::<LANES>();
    let (others, other_rest) = other.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (one, other) in ones.iter().zip(others) {
        for (sum, (a, b)) in sums.iter_mut().zip(one.iter().zip(other)) {
            *sum += a * b;
        }
    }
    let rest: f32 = one_rest.iter().zip(other_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

impl fmt::Display for VectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the embedding is empty"),
            Self::TooLong => write!(f, "the embedding has more than {MAX_DIMENSIONS} numbers"),
            Self::NotFinite => f.write_str("the embedding has a number that is not finite"),
            Self::Zero => f.write_str("all numbers of the embedding are zero"),
            Self::Dimension { expected, found } => {
                write!(
                    f,
                    "the embedding has {found} numbers, and earlier ones had {expected}"
                )
            }
        }
    }
}

impl std::error::Error for VectorError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_unit_length_whatever_they_were_given() {
        for numbers in [[3.0, 4.0], [3e38, 4e37], [1e-40, 2e-40], [0.0, -7.0]] {
            let vector = Vector::new(&numbers).unwrap();
            assert!(
                (vector.similarity(&vector) - 1.0).abs() < 1e-6,
                "{numbers:?}"
            );
        }
    }

    #[test]
    fn what_is_no_direction_is_refused() {
        for (numbers, why) in [
            (vec![], VectorError::Empty),
            (vec![0.0; 3], VectorError::Zero),
            (vec![1.0, f32::NAN], VectorError::NotFinite),
            (vec![f32::INFINITY, 1.0], VectorError::NotFinite),
            (vec![1.0, f32::NEG_INFINITY], VectorError::NotFinite),
            (vec![1.0; MAX_DIMENSIONS + 1], VectorError::TooLong),
        ] {
            assert_eq!(Vector::new(&numbers), Err(why));
        }
        assert!(Vector::new(&vec![1.0; MAX_DIMENSIONS]).is_ok());
    }

    #[test]
    fn the_similarity_is_that_of_a_plain_sum_at_any_length() {
        for length in [1, 2, 15, 16, 17, 31, 384, 1000] {
            let numbers = |seed: f32| (0..length).map(move |n| (n as f32 * seed).sin() + 0.1);
            let one = Vector::new(&numbers(0.7).collect::<Vec<_>>()).unwrap();
            let other = Vector::new(&numbers(1.3).collect::<Vec<_>>()).unwrap();
            let plain = one.numbers().iter().zip(other.numbers());
            let plain: f64 = plain.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let similarity = f64::from(one.similarity(&other));
            assert!(
                (similarity - plain).abs() < 1e-5,
                "{length}: {similarity} {plain}"
            );
        }
    }
}
