#!/usr/bin/env bash
# candle-core 0.11.1, CPU: a scalar is cast to the tensor's type before it is used, without an error.
#
# Tensor::affine, which computes `scalar - tensor`, `tensor / scalar`, `tensor * scalar` and the means, casts its
# factor and its summand to u8 ("as u8": the fraction is cut off, below 0 becomes 0). Comparisons cast their scalar too.
# So for a u8 tensor `1.0 - mask` is all ones, `mask / 255.0` all zeros, `mask.ge(0.5)` all true, and a mean is 0.
#
# Why it matters: loaders hand masks and images over as u8, to save bandwidth. The lines below are the natural way to
# write an inverted mask, a scaled image, a threshold and a share of foreground; none fails, and each trains on
# constants. Cast first: `mask.to_dtype(DType::F32)?`.
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
    let mask = Tensor::new(&[0u8, 1, 1, 0], &Device::Cpu)?;
    let image = Tensor::new(&[0u8, 51, 128, 255], &Device::Cpu)?;
    println!("1.0 - mask      {:?}", (1.0 - &mask)?.to_vec1::<u8>()?);
    println!("image / 255.0   {:?}", (&image / 255.0)?.to_vec1::<u8>()?);
    println!("mask.ge(0.5)    {:?}", mask.ge(0.5)?.to_vec1::<u8>()?);
    println!("mask.mean_all() {:?}", mask.mean_all()?.to_scalar::<u8>()?);
    let mask = mask.to_dtype(DType::F32)?;
    println!("as f32:");
    println!("1.0 - mask      {:?}", (1.0 - &mask)?.to_vec1::<f32>()?);
    println!("image / 255.0   {:?}", (image.to_dtype(DType::F32)? / 255.0)?.to_vec1::<f32>()?);
    println!("mask.ge(0.5)    {:?}", mask.ge(0.5)?.to_vec1::<u8>()?);
    println!("mask.mean_all() {:?}", mask.mean_all()?.to_scalar::<f32>()?);
    Ok(())
}
RUST
cat >"$dir/expected" <<'TEXT'
1.0 - mask      [1, 1, 1, 1]
image / 255.0   [0, 0, 0, 0]
mask.ge(0.5)    [1, 1, 1, 1]
mask.mean_all() 0
as f32:
1.0 - mask      [1.0, 0.0, 0.0, 1.0]
image / 255.0   [0.0, 0.20000002, 0.5019608, 1.0]
mask.ge(0.5)    [0, 1, 1, 0]
mask.mean_all() 0.5
TEXT
cargo run --quiet --release --manifest-path "$dir/Cargo.toml" >"$dir/found"
cargo tree --quiet --depth 0 --prefix none --package candle-core --manifest-path "$dir/Cargo.toml"
cat "$dir/found"
diff "$dir/expected" "$dir/found" || { echo 'differs from the output seen before'; exit 1; }
