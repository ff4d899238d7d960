//! The weights of a Burn module as arrays, by the names of PyTorch's modules.
//!
//! They are exchanged through Burn's records, which name a weight by its path of fields; that path is PyTorch's name.

use burn::module::{Module, ParamGroup};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::{Bytes, DType};
use burn_pack::{Reader, Tensor, Writer};

use crate::result::Result;
use crate::state_dict::{Array, StateDict, select};

/// Names and shapes of a module's weights, in the order of the names.
pub fn shapes<M: Module>(module: &M) -> Result<Vec<(String, Vec<usize>)>> {
    Ok(state_dict(module)?.into_iter().map(|(name, array)| (name, array.shape)).collect())
}

/// Loads a module's weights from `state`. Fails if one is missing or has another shape.
///
/// Burn identifies weights by id. Here the ids are positions in the order of names, so that Burn's own checkpoints fit
/// across runs.
pub fn load<M: Module>(module: M, state: &StateDict) -> Result<M> {
    let weights = select(state, &shapes(&module)?)?;
    let tensors = (0..).zip(weights).map(|(id, (name, array))| pack(id, name, &array)).collect();
    Ok(module.try_load_record(ModuleRecord::from_bytes(bytes(Writer::new(tensors))?)?)?)
}

/// A module's weights as arrays. Fails on weights of another type than `f32`.
pub fn state_dict<M: Module>(module: &M) -> Result<StateDict> {
    Ok(weights_with_ids(module)?.into_iter().map(|(_, name, array)| (name, array)).collect())
}

/// Freezes all weights of a module except those whose names `is_trainable` accepts.
pub fn freeze<M: Module>(module: M, is_trainable: impl Fn(&str) -> bool) -> Result<M> {
    let names = shapes(&module)?.into_iter().map(|(name, _)| name);
    Ok(module.freeze_group(ParamGroup::from_paths(names.filter(|name| !is_trainable(name)).collect::<Vec<_>>())))
}

/// A module's weights with Burn's ids and their names.
pub(super) fn weights_with_ids<M: Module>(module: &M) -> Result<Vec<(u64, String, Array)>> {
    unpack(Reader::from_bytes(module.clone().into_record().into_bytes()?)?)
}

/// Converts an array to a record's tensor.
pub(super) fn pack(id: u64, name: String, array: &Array) -> Tensor {
    let bytes = array.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::new(name, DType::F32, array.shape.clone(), Some(id), Bytes::from_bytes_vec(bytes))
}

/// Converts a record's tensors to arrays, with their ids and names.
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

/// Encodes a record.
pub(super) fn bytes(record: Writer) -> std::result::Result<Bytes, RecordError> {
    Ok(record.into_bytes()?)
}
