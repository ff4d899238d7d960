//! Writes the fields of batches to a safetensors file.

use std::collections::HashMap;
use std::path::Path;

use maskstream::{BatchLayout, DType};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use super::output::Outcome;

/// Writes `batches` batches. `columns` holds, for each field, the bytes of all batches one after the other.
pub(super) fn write(path: &Path, layout: &BatchLayout, batches: usize, columns: &[Vec<u8>]) -> Outcome {
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
        tensors.push((field.name(), TensorView::new(dtype, stacked(&field.shape, batches), column)?));
    }
    let about = HashMap::from([("producer".to_owned(), concat!("maskstream ", env!("CARGO_PKG_VERSION")).to_owned())]);
    serialize_to_file(tensors, Some(about), path)?;
    // safetensors renames a temporary file that only its owner can read. Give it the usual permissions.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// The shape of a field when `batches` batches are stacked.
pub(super) fn stacked(shape: &[usize], batches: usize) -> Vec<usize> {
    shape.iter().enumerate().map(|(i, &n)| if i == 0 { n * batches } else { n }).collect()
}
