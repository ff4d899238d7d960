#!/usr/bin/env bash
# candle-core 0.11.1, CPU: index 255 of a u8 index tensor reads zeros, regardless of row 255 of the table.
#
# index_select, gather, embedding, scatter_add and index_add take the largest value of the index type for "no index": it
# reads 0, or adds nothing. For u32 and i64 that is no row of any table; for u8 it is row 255, which a table of 256 rows
# or more has. Other indices beyond the end of a table are errors; 255 never is, however short the table is.
#
# Why it matters: grey levels, palettes and class ids of label images come from loaders as u8, and a table for them has
# 256 rows. Row 255 (white, or the class for "ignore") is silently zero and gets no gradient. With cross_entropy of
# candle-nn such a pixel has loss 0 and is still counted by the mean. Cast indices to u32 or i64.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[workspace]

[dependencies]
candle-core = "=0.11.1"

# Only for the build's time: the output is the same at any level.
[profile.release]
opt-level = 0
TOML
cat >"$dir/src/main.rs" <<'RUST'
use candle_core::{DType, Device, Result, Tensor};

fn main() -> Result<()> {
    // A palette of 256 rows, row n holding n, and the pixels 254 and 255.
    let palette = Tensor::arange(0f32, 256.0, &Device::Cpu)?.reshape((256, 1))?;
    let pixels = Tensor::new(&[254u8, 255], &Device::Cpu)?;
    for dtype in [DType::U8, DType::U32, DType::I64] {
        let pixels = pixels.to_dtype(dtype)?;
        let read = palette.embedding(&pixels)?.flatten_all()?.to_vec1::<f32>()?;
        let counts = Tensor::zeros(256, DType::F32, &Device::Cpu)?;
        let counts = counts.index_add(&pixels, &Tensor::ones(2, DType::F32, &Device::Cpu)?, 0)?;
        println!("{dtype:?}: embedding {read:?}, counts {:?}", counts.narrow(0, 254, 2)?.to_vec1::<f32>()?);
    }
    Ok(())
}
RUST
cat >"$dir/expected" <<'TEXT'
U8: embedding [254.0, 0.0], counts [1.0, 0.0]
U32: embedding [254.0, 255.0], counts [1.0, 1.0]
I64: embedding [254.0, 255.0], counts [1.0, 1.0]
TEXT
cargo run --quiet --release --manifest-path "$dir/Cargo.toml" >"$dir/found"
cargo tree --quiet --depth 0 --prefix none --package candle-core --manifest-path "$dir/Cargo.toml"
cat "$dir/found"
diff "$dir/expected" "$dir/found" || { echo 'differs from the output seen before'; exit 1; }
