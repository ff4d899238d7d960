//! A digest of results, by which two sides check that they computed the same. It equals that of `Digest` in `masks.py`.

use std::hint::black_box;

use maskstream::mask::Rle;

/// Takes the results of one pass. In timed passes, it only keeps them from being optimized away.
pub(super) struct Digest {
    kind: Kind,
    crc: crc32fast::Hasher,
    sum: f64,
}

/// How results are combined.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Nothing.
    Off,
    /// A checksum of every byte.
    Exact,
    /// A sum, where results may differ slightly.
    Sum,
}

impl Digest {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, crc: crc32fast::Hasher::new(), sum: 0.0 }
    }

    pub(super) fn value(self) -> f64 {
        f64::from(self.crc.finalize()) + self.sum
    }

    #[inline]
    pub(super) fn mask(&mut self, mask: &Rle) {
        match self.kind {
            Kind::Off => drop(black_box(mask)),
            Kind::Exact => self.crc.update(mask.to_counts().as_bytes()),
            Kind::Sum => self.sum += mask.area() as f64,
        }
    }

    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        match self.kind {
            Kind::Off => drop(black_box(bytes)),
            Kind::Exact => self.crc.update(bytes),
            Kind::Sum => self.sum += bytes.iter().map(|&byte| f64::from(byte)).sum::<f64>(),
        }
    }

    #[inline]
    pub(super) fn numbers(&mut self, numbers: &[f64]) {
        match self.kind {
            Kind::Off => drop(black_box(numbers)),
            Kind::Exact | Kind::Sum => self.sum += numbers.iter().sum::<f64>(),
        }
    }

    #[inline]
    pub(super) fn number(&mut self, number: f64) {
        self.numbers(&[number]);
    }
}
