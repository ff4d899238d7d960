//! Writes the fields of batches to a safetensors file.

use std::collections::HashMap;

use maskstream::{BatchLayout, DType};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::output::Outcome;
use super::target::Target;

/// Writes `batches` batches. `columns` holds, for each field, the bytes of all batches one after the other.
pub(super) fn write(target: &Target<'_>, layout: &BatchLayout, batches: usize, columns: &[Vec<u8>]) -> Outcome {
    let mut tensors = Vec::new();
    for (field, column) in layout.fields().iter().zip(columns) {
        let dtype = match field.dtype {
            DType::U8 => Dtype::U8,
            DType::U32 => Dtype::U32,
            DType::I64 => Dtype::I64,
            DType::F16 => Dtype::F16,
            DType::Bf16 => Dtype::BF16,
            DType::F32 => Dtype::F32,
            _ => return Err(format!("{} has a number type that this program cannot export", field.name()).into()),
        };
        tensors.push((field.name(), dtype, stacked(&field.shape, batches), column));
    }
    // The widest numbers come first, so that all are aligned.
    tensors.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let header = header(&tensors)?;
    target.write(|out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        tensors.iter().try_for_each(|(.., column)| out.write_all(column))
    })
}

/// The header, padded to whole words. The crate's own function that writes a file makes a temporary one of its own,
/// which a signal would leave behind, and replaces whatever is there.
fn header(tensors: &[(&str, Dtype, Vec<usize>, &Vec<u8>)]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let (mut end, mut infos) = (0, Vec::new());
    for (name, dtype, shape, column) in tensors {
        let data_offsets = (end, end + column.len());
        end = data_offsets.1;
        infos.push(((*name).to_owned(), TensorInfo { dtype: *dtype, shape: shape.clone(), data_offsets }));
    }
    let about = HashMap::from([("producer".to_owned(), concat!("maskstream ", env!("CARGO_PKG_VERSION")).to_owned())]);
    let mut header = serde_json::to_vec(&Metadata::new(Some(about), infos)?)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// The shape of a field when `batches` batches are stacked.
pub(super) fn stacked(shape: &[usize], batches: usize) -> Vec<usize> {
    shape.iter().enumerate().map(|(i, &n)| if i == 0 { n * batches } else { n }).collect()
}
