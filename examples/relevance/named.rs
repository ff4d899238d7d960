//! Arrays under the names that PyTorch's modules give them, and files of them. Comes in: arrays, or a safetensors file.
//! Goes out: the other. Fails where a file cannot be read or written, or holds anything but `f32`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use safetensors::tensor::{SafeTensors, TensorView};
use safetensors::{Dtype, serialize};

use super::model::Result;

/// Numbers of a shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Arrays in the order of their names.
pub(crate) type Named = BTreeMap<String, Array>;

impl Array {
    /// A list of numbers.
    pub(crate) fn list(values: Vec<f32>) -> Self {
        Self { shape: vec![values.len()], values }
    }
}

/// The arrays of `shapes` out of more; all must be there and have that shape.
pub(crate) fn take(from: &Named, shapes: &[(String, Vec<usize>)]) -> Result<Named> {
    let take = |(name, shape): &(String, Vec<usize>)| {
        let array = from.get(name).ok_or_else(|| format!("the weights have no {name}"))?;
        if array.shape != *shape {
            return Err(format!("{name} is of shape {:?}, the head has {shape:?}", array.shape).into());
        }
        Ok((name.clone(), array.clone()))
    };
    shapes.iter().map(take).collect()
}

/// Reads a safetensors file, and the note that `write` left in it.
pub(crate) fn read(path: &Path) -> Result<(Named, Option<String>)> {
    let fault = |e: &dyn std::fmt::Display| format!("cannot read {}: {e}", path.display());
    let bytes = fs::read(path).map_err(|e| fault(&e))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| fault(&e))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| fault(&e))?;
    let mut arrays = Named::new();
    for (name, tensor) in tensors.iter() {
        if tensor.dtype() != Dtype::F32 {
            return Err(fault(&format!("{name} is {:?}, not F32", tensor.dtype())).into());
        }
        // Not cast: its bytes may lie anywhere.
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u32::from(byte));
        let values = tensor.data().chunks_exact(4).map(|bytes| f32::from_bits(number(bytes))).collect();
        arrays.insert(name.to_owned(), Array { shape: tensor.shape().to_vec(), values });
    }
    Ok((arrays, metadata.metadata().as_ref().and_then(|notes| notes.get(NOTE).cloned())))
}

/// Writes a safetensors file, with a note; whole or not at all.
pub(crate) fn write(path: &Path, arrays: &Named, note: Option<String>) -> Result<()> {
    let fault = |e: &dyn std::fmt::Display| format!("cannot write {}: {e}", path.display());
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = arrays
        .iter()
        .map(|(name, array)| (name, &array.shape, array.values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?)))
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| fault(&e))?;
    let note = note.map(|note| HashMap::from([(NOTE.to_owned(), note)]));
    let file = serialize(views, note).map_err(|e| fault(&e))?;

    Ok(replace(path, &file).map_err(|e| fault(&e))?)
}

/// Puts a file in the place of what is there, if anything is: whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("tmp");
    let mut out = fs::File::create(&draft)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    fs::rename(&draft, path)
}

const NOTE: &str = "maskstream";
