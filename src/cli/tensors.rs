//! Batches as a file. Comes in: the bytes of each field of one or more batches. Goes out: a safetensors file with a
//! tensor for each field. Fails if the file cannot be written.

use std::collections::HashMap;
use std::path::Path;

use maskstream::{BatchLayout, DType};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use super::Outcome;

/// Writes `batches` batches, whose fields' bytes stand one after the other in `columns`.
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
            other => return Err(format!("{} is of type {other:?}, which safetensors lacks", field.name()).into()),
        };
        tensors.push((field.name(), TensorView::new(dtype, stacked(&field.shape, batches), column)?));
    }
    let about = HashMap::from([("producer".to_owned(), concat!("maskstream ", env!("CARGO_PKG_VERSION")).to_owned())]);
    serialize_to_file(tensors, Some(about), path)?;
    // It writes a temporary file, private to its owner, and renames it; an export is for everybody.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// The shape of a field of so many batches.
pub(super) fn stacked(shape: &[usize], batches: usize) -> Vec<usize> {
    shape.iter().enumerate().map(|(i, &n)| if i == 0 { n * batches } else { n }).collect()
}
