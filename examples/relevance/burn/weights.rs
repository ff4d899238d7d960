//! Weights by the names that PyTorch's modules give them, so that a file of either opens in the other. Comes in: plain
//! numbers for a module. Goes out: those of a module that has been trained. Fails on weights that are missing or of
//! another shape.
//!
//! Burn's own records carry them: they name a weight by its path of fields, which is PyTorch's name.

use burn::module::Module;
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::{Bytes, DType};
use burn_pack::{Reader, Tensor, Writer};

/// A weight as every framework can hold it: its name, its shape, its numbers.
pub(crate) type Plain = (String, Vec<usize>, Vec<f32>);

/// A module's weights, in the order of their names.
pub(crate) fn read<M: Module>(module: &M) -> Result<Vec<Plain>, RecordError> {
    Ok(identified(module)?.into_iter().map(|(_, weight)| weight).collect())
}

/// The module with its weights out of a collection. It numbers them in the order of their names, so that an optimizer
/// knows them again in another process.
pub(crate) fn write<M: Module>(module: M, weights: &[Plain]) -> Result<M, RecordError> {
    let take = |(id, (_, (name, shape, _))): (u64, (u64, Plain))| {
        let Some(weight) = weights.iter().find(|weight| weight.0 == name) else {
            return Err(RecordError::Validation(format!("the weights have no {name}")));
        };
        if weight.1 != shape {
            let message = format!("{name} is of shape {:?}, the head has {shape:?}", weight.1);
            return Err(RecordError::Validation(message));
        }
        Ok(pack(id, &name, weight))
    };
    let tensors = (0..).zip(identified(&module)?).map(take).collect::<Result<_, _>>()?;
    module.try_load_record(ModuleRecord::from_bytes(Writer::new(tensors).into_bytes()?)?)
}

/// Number of numbers in the weights.
pub(crate) fn size(weights: &[Plain]) -> usize {
    weights.iter().map(|(_, _, numbers)| numbers.len()).sum()
}

/// A module's weights with Burn's numbers for them, in the order of their names.
pub(super) fn identified<M: Module>(module: &M) -> Result<Vec<(u64, Plain)>, RecordError> {
    unpack(Reader::from_bytes(module.clone().into_record().into_bytes()?)?)
}

/// Plain numbers -> a tensor of a record.
pub(super) fn pack(id: u64, name: &str, (_, shape, numbers): &Plain) -> Tensor {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Tensor::new(name.to_owned(), DType::F32, shape.clone(), Some(id), Bytes::from_bytes_vec(bytes))
}

/// A record -> plain numbers, in the order of their names.
pub(super) fn unpack(record: Reader) -> Result<Vec<(u64, Plain)>, RecordError> {
    let unpack = |tensor: Tensor| {
        let (name, dtype, shape, id, bytes) = tensor.into_parts()?;
        if dtype != DType::F32 {
            return Err(RecordError::Validation(format!("{name} has numbers of type {dtype:?}, not F32")));
        }
        let numbers = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok((id.unwrap_or_default(), (name, shape.to_vec(), numbers)))
    };
    let mut tensors: Vec<(u64, Plain)> = record.into_tensors()?.into_iter().map(unpack).collect::<Result<_, _>>()?;
    tensors.sort_by(|(_, a), (_, b)| a.0.cmp(&b.0));
    Ok(tensors)
}
