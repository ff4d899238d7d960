//! What PyTorch says, as plain numbers: `tests/golden/relevance.safetensors`, for the test programs of all frameworks.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::texture::{self, Patches};

/// The width of queries that the vectors are made for.
pub(crate) const WIDTH: usize = 32;

/// Name, shape and numbers of a tensor.
pub(crate) type Plain = (String, Vec<usize>, Vec<f32>);

pub(crate) struct Golden(BTreeMap<String, Plain>);

impl Golden {
    pub(crate) fn load() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/relevance.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let read = |name: &str| {
            let tensor = file.tensor(name).unwrap();
            let bytes = tensor.data();
            let numbers = match tensor.dtype() {
                Dtype::U8 | Dtype::BOOL => bytes.iter().map(|&byte| f32::from(byte)).collect(),
                Dtype::F32 => bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
                Dtype::I64 => bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f32).collect(),
                other => panic!("{name} has numbers of type {other}"),
            };
            (name.to_owned(), tensor.shape().to_vec(), numbers)
        };
        Self(file.names().into_iter().map(|name| (name.to_owned(), read(name))).collect())
    }

    pub(crate) fn plain(&self, name: &str) -> &Plain {
        self.0.get(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    pub(crate) fn numbers(&self, name: &str) -> Vec<f32> {
        self.plain(name).2.clone()
    }

    /// The largest difference from the tensor of this name must not exceed `tolerance`.
    pub(crate) fn expect(&self, name: &str, found: &[f32], tolerance: f32) {
        let expected = self.numbers(name);
        assert_eq!(found.len(), expected.len(), "{name}");
        assert!(found.iter().all(|number| number.is_finite()), "{name}");
        let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{name:75} {apart:10.2e} (at most {tolerance:.0e})");
        assert!(apart <= tolerance, "{name}: {apart} apart");
    }

    /// The weights that all heads are made of, in the order of their names.
    pub(crate) fn plain_weights(&self) -> Vec<Plain> {
        let own = self.0.values().filter_map(|(name, shape, numbers)| {
            Some((name.strip_prefix("weights.")?.to_owned(), shape.clone(), numbers.clone()))
        });
        own.collect()
    }

    pub(crate) fn seen_verbatim(&self, images: &str) -> Patches {
        let &[_, _, height, width] = &self.plain(images).1[..] else { panic!("{images} are not images") };
        let bytes: Vec<u8> = self.numbers(images).into_iter().map(|number| number as u8).collect();
        texture::verbatim(&bytes, height, width)
    }
}
