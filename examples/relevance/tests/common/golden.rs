//! Reference values of PyTorch: `tests/golden/relevance.safetensors`, written by `scripts/make_relevance_vectors.py`.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use relevance::state_dict::{Array, StateDict};
use relevance::texture::verbatim::{GRID, verbatim};
use relevance::texture::{Patches, grounded};

/// Width of the embedding.
pub(crate) const WIDTH: usize = 32;
/// Patches per image.
pub(crate) const PATCHES: usize = GRID * GRID;

pub(crate) struct Golden(Vec<u8>);

impl Golden {
    pub(crate) fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/relevance.safetensors")
    }

    pub(crate) fn load() -> Self {
        Self(fs::read(Self::path()).unwrap())
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    pub(crate) fn shape(&self, name: &str) -> Vec<usize> {
        self.file().tensor(name).unwrap_or_else(|e| panic!("{name}: {e}")).shape().to_vec()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.file().tensor(name).unwrap_or_else(|e| panic!("{name}: {e}")).data().to_vec()
    }

    /// A tensor's values as `f32`.
    pub(crate) fn values(&self, name: &str) -> Vec<f32> {
        let bytes = self.bytes(name);
        match self.file().tensor(name).unwrap().dtype() {
            Dtype::U8 => bytes.into_iter().map(f32::from).collect(),
            Dtype::I64 => bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f32).collect(),
            Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            other => panic!("{name} is {other:?}"),
        }
    }

    /// Asserts that `found` is within `tolerance` of the tensor of this name.
    pub(crate) fn expect(&self, name: &str, found: &[f32], tolerance: f32) {
        let expected = self.values(name);
        assert_eq!(found.len(), expected.len(), "{name}");
        assert!(found.iter().all(|value| value.is_finite()), "{name}");
        let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{name:75} {apart:10.2e} (at most {tolerance:.0e})");
        assert!(apart <= tolerance, "{name}: {apart} apart");
    }

    /// Asserts that these are the gradients of the weights that have one in the file.
    pub(crate) fn expect_gradients(&self, task: &str, found: &StateDict) {
        let prefix = format!("{task}.gradient.");
        let file = self.file();
        let mut names: Vec<&str> = file.names().into_iter().filter_map(|name| name.strip_prefix(&prefix)).collect();
        names.sort_unstable();
        assert_eq!(found.keys().collect::<Vec<_>>(), names);
        for (name, gradient) in found {
            let full = format!("{prefix}{name}");
            let largest = self.values(&full).into_iter().map(f32::abs).fold(0.0, f32::max);
            let tolerance = match (task, name.as_str()) {
                // The centring, or the softmax, cancels these biases: their gradient is rounding noise.
                (_, "participatory_scorer.texture_proj.2.bias") => 1e-6,
                ("allocate", "balancer.bias") => 2e-6,
                // The softmax nearly cancels it.
                ("allocate", "participatory_scorer.margin") => 5e-6,
                _ => 3e-5 * largest,
            };
            self.expect(&full, &gradient.values, tolerance);
        }
    }

    /// The weights of these names.
    pub(crate) fn weights(&self, shapes: &[(String, Vec<usize>)]) -> StateDict {
        let array = |name: &str| {
            let name = format!("weights.{name}");
            Array { shape: self.shape(&name), values: self.values(&name) }
        };
        let weights: StateDict = shapes.iter().map(|(name, _)| (name.clone(), array(name))).collect();
        relevance::state_dict::select(&weights, shapes).unwrap()
    }

    /// These weights with the first layer of a head with a context window.
    pub(crate) fn in_context(&self, mut weights: StateDict) -> StateDict {
        let first = Array { shape: self.shape("context.weight"), values: self.values("context.weight") };
        weights.insert("participatory_scorer.texture_proj.0.weight".to_owned(), first);
        weights
    }

    /// Features as ARR-COC computes them.
    pub(crate) fn verbatim(&self, images: &str) -> Patches {
        let shape = self.shape(images);
        verbatim(&self.bytes(images), shape[2], shape[3])
    }

    /// Features of the canvases with padding.
    pub(crate) fn grounded(&self) -> Patches {
        let content = self.values("content");
        let content: Vec<[usize; 2]> =
            content.chunks_exact(2).map(|axes| [axes[0] as usize, axes[1] as usize]).collect();
        grounded(&self.bytes("canvas"), self.shape("canvas")[3], &content, GRID)
    }

    /// `[B, Q]`: the prompted patches.
    pub(crate) fn query_patch(&self) -> Vec<u32> {
        self.values("grounded.query_patch").into_iter().map(|patch| patch as u32).collect()
    }
}
