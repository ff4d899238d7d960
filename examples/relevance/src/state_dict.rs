//! State dicts: `f32` arrays under the names of PyTorch's modules, and safetensors files of them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use safetensors::tensor::{SafeTensors, TensorView};
use safetensors::{Dtype, serialize};

use crate::result::Result;

/// Key of the note in the metadata of a file.
const NOTE: &str = "maskstream";

/// An `f32` array in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Arrays by name.
pub type StateDict = BTreeMap<String, Array>;

impl Array {
    /// A one-dimensional array.
    pub fn vector(values: Vec<f32>) -> Self {
        Self { shape: vec![values.len()], values }
    }
}

/// The arrays of `state` that `shapes` names. Fails if one is missing or has another shape.
pub fn select(state: &StateDict, shapes: &[(String, Vec<usize>)]) -> Result<StateDict> {
    let select = |(name, shape): &(String, Vec<usize>)| {
        let array = state.get(name).ok_or_else(|| format!("the weights have no {name}"))?;
        if array.shape != *shape {
            return Err(format!("{name} has the shape {:?}, but the head needs {shape:?}", array.shape).into());
        }
        Ok((name.clone(), array.clone()))
    };
    shapes.iter().map(select).collect()
}

/// Reads a safetensors file and the note that [`write()`] stored in it. Fails on arrays of another type than `f32`.
pub fn read(path: &Path) -> Result<(StateDict, Option<String>)> {
    let cannot_read = |e: &dyn std::fmt::Display| format!("cannot read {}: {e}", path.display());
    let bytes = fs::read(path).map_err(|e| cannot_read(&e))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| cannot_read(&e))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| cannot_read(&e))?;
    let mut state = StateDict::new();
    for (name, tensor) in tensors.iter() {
        if tensor.dtype() != Dtype::F32 {
            return Err(cannot_read(&format!("{name} is {:?}, not F32", tensor.dtype())).into());
        }
        // Not a cast: the bytes need not be aligned.
        let bits = |bytes: &[u8]| bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u32::from(byte));
        let values = tensor.data().chunks_exact(4).map(|bytes| f32::from_bits(bits(bytes))).collect();
        state.insert(name.to_owned(), Array { shape: tensor.shape().to_vec(), values });
    }
    Ok((state, metadata.metadata().as_ref().and_then(|notes| notes.get(NOTE).cloned())))
}

/// Writes a safetensors file with a note, atomically.
pub fn write(path: &Path, state: &StateDict, note: Option<String>) -> Result<()> {
    let cannot_write = |e: &dyn std::fmt::Display| format!("cannot write {}: {e}", path.display());
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = state
        .iter()
        .map(|(name, array)| (name, &array.shape, array.values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?)))
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| cannot_write(&e))?;
    let note = note.map(|note| HashMap::from([(NOTE.to_owned(), note)]));
    let file = serialize(views, note).map_err(|e| cannot_write(&e))?;

    Ok(replace_file(path, &file).map_err(|e| cannot_write(&e))?)
}

/// Writes a file atomically, replacing the file at `path` if there is one.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("tmp");
    let mut out = fs::File::create(&draft)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    fs::rename(&draft, path)
}
