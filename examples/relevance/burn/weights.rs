//! Weights by the names that PyTorch's modules give them. Comes in: arrays for a module. Goes out: arrays of a module that
//! has been trained. Fails on weights that are missing, of another shape or no `f32`.
//!
//! Burn's records carry them to and fro: they name a weight by its path of fields, which is PyTorch's name.

use burn::module::{Module, ParamGroup};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::{Bytes, DType};
use burn_pack::{Reader, Tensor, Writer};

use super::super::model::Result;
use super::super::named::{Array, Named, take};

/// Names and shapes of a module's weights, in the order of the names.
pub(crate) fn shapes<M: Module>(module: &M) -> Result<Vec<(String, Vec<usize>)>> {
    Ok(arrays(module)?.into_iter().map(|(name, array)| (name, array.shape)).collect())
}

/// The module with its weights out of `arrays`. Burn knows them by their place in the order of names, so that its own
/// checkpoints fit as well.
pub(crate) fn load<M: Module>(module: M, arrays: &Named) -> Result<M> {
    let weights = take(arrays, &shapes(&module)?)?;
    let tensors = (0..).zip(weights).map(|(id, (name, array))| pack(id, name, &array)).collect();
    Ok(module.try_load_record(ModuleRecord::from_bytes(bytes(Writer::new(tensors))?)?)?)
}

/// The other way.
pub(crate) fn arrays<M: Module>(module: &M) -> Result<Named> {
    Ok(identified(module)?.into_iter().map(|(_, name, array)| (name, array)).collect())
}

/// The module in which only those weights learn that `learns` names.
pub(crate) fn learning<M: Module>(module: M, learns: impl Fn(&str) -> bool) -> Result<M> {
    let names = shapes(&module)?.into_iter().map(|(name, _)| name);
    Ok(module.freeze_group(ParamGroup::from_paths(names.filter(|name| !learns(name)).collect::<Vec<_>>())))
}

/// Weights with Burn's numbers for them.
pub(super) fn identified<M: Module>(module: &M) -> Result<Vec<(u64, String, Array)>> {
    unpack(Reader::from_bytes(module.clone().into_record().into_bytes()?)?)
}

/// An array -> a tensor of a record.
pub(super) fn pack(id: u64, name: String, array: &Array) -> Tensor {
    let bytes = array.values.iter().flat_map(|number| number.to_le_bytes()).collect();
    Tensor::new(name, DType::F32, array.shape.clone(), Some(id), Bytes::from_bytes_vec(bytes))
}

/// Tensors of a record -> arrays.
pub(super) fn unpack(record: Reader) -> Result<Vec<(u64, String, Array)>> {
    let unpack = |tensor: Tensor| {
        let (name, dtype, shape, id, bytes) = tensor.into_parts()?;
        if dtype != DType::F32 {
            return Err(format!("{name} is {dtype:?}, not F32").into());
        }
        let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok((id.unwrap_or_default(), name, Array { shape: shape.to_vec(), values }))
    };
    record.into_tensors()?.into_iter().map(unpack).collect()
}

/// A record as Burn reads it.
pub(super) fn bytes(record: Writer) -> std::result::Result<Bytes, RecordError> {
    Ok(record.into_bytes()?)
}
