#!/usr/bin/env bash
# candle-core 0.11.1 and candle-nn 0.11.1, CPU: sums of f16 and bf16 are computed in the type itself, one element after
# another.
#
# Once a sum of ones is 2048 (f16) or 256 (bf16), adding 1 rounds back to it: all further terms are lost. So the mean of
# 4096 ones is 0.5 or 0.0625, and the softmax of 4096 equal logits adds up to 2 or 16. avg_pool2d has the same problem.
# matmul accumulates in f32 and is right. PyTorch accumulates such sums in f32.
#
# Why it matters: images in bf16 halve the bytes that a loader moves, and a loss over 256 x 256 cells is a mean of
# 65,536 terms, of which the first 256 count. Nothing is NaN or infinite, so nothing is noticed. Cast to f32 first.
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
candle-nn = "=0.11.1"

# Only for the build's time: the output is the same at any level.
[profile.release]
opt-level = 0
TOML
cat >"$dir/src/main.rs" <<'RUST'
use candle_core::{DType, Device, Result, Tensor};

fn value(tensor: Tensor) -> Result<f32> {
    tensor.to_dtype(DType::F32)?.sum_all()?.to_scalar()
}

fn main() -> Result<()> {
    println!("4096 ones: sum, mean, product with ones; sum of the softmax of 4096 ones");
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let ones = Tensor::ones(4096, dtype, &Device::Cpu)?;
        let (sum, mean) = (value(ones.sum_all()?)?, value(ones.mean_all()?)?);
        let product = value(ones.reshape((1, 4096))?.matmul(&ones.reshape((4096, 1))?)?)?;
        let softmax = value(candle_nn::ops::softmax(&ones, 0)?)?;
        println!("{dtype:?} {sum} {mean} {product} {softmax}");
    }
    Ok(())
}
RUST
cat >"$dir/expected" <<'TEXT'
4096 ones: sum, mean, product with ones; sum of the softmax of 4096 ones
F32 4096 1 4096 1
F16 2048 0.5 4096 2
BF16 256 0.0625 4096 16
TEXT
cargo run --quiet --release --manifest-path "$dir/Cargo.toml" >"$dir/found"
for package in candle-core candle-nn; do
    cargo tree --quiet --depth 0 --prefix none --package "$package" --manifest-path "$dir/Cargo.toml"
done
cat "$dir/found"
diff "$dir/expected" "$dir/found" || { echo 'differs from the output seen before'; exit 1; }
