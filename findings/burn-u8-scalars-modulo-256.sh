#!/usr/bin/env bash
# Burn 0.22.1, Flex (its CPU backend): a scalar that does not fit a u8 tensor is taken modulo 256, without an error.
# Sums wrap around, in debug builds as well, and mean() panics.
#
# `x >= 256` is true for every u8 x, `x < 256` for none, `x + 300` is `x + 44`, and `mean_dim` of [255, 255] is 127: it
# divides the wrapped sum. An integer tensor of Burn's default type, i32 here, gives the expected values.
#
# Why it matters: tensors made from a loader's u8 bytes, with their type named, look like any `Tensor<D, Int>`; code
# written for the default type compiles and gives other numbers. Cast first: `x.float()`, or `x.cast(IntDType::I32)`.
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
edition = "2024"

[workspace]

[dependencies]
burn-core = { version = "=0.22.1", default-features = false, features = ["std", "flex"] }

# Only for the build's time: the output is the same at any level.
[profile.release]
opt-level = 0
TOML
cat >"$dir/src/main.rs" <<'RUST'
use burn_core::tensor::{DType, Device, Int, Tensor, TensorData};

fn main() {
    // No backtrace of the panic that is shown.
    std::panic::set_hook(Box::new(|_| {}));
    for dtype in [DType::U8, DType::I32] {
        let ints = |values: &[i32]| {
            Tensor::<1, Int>::from_data(TensorData::new(values.to_vec(), [values.len()]), (&Device::flex(), dtype))
        };
        let x = || ints(&[0, 1, 128, 255]);
        let show = |what: &str, tensor: Tensor<1, Int>| {
            let values = tensor.into_data().convert::<i64>().try_to_vec::<i64>().unwrap();
            println!("{dtype:?} {what:<18} {values:?}");
        };
        show("x >= 256", x().greater_equal_elem(256).int());
        show("x < 256", x().lower_elem(256).int());
        show("x + 300", x() + 300);
        show("sum of 1000 ones", ints(&[1; 1000]).sum());
        show("mean_dim [255 255]", ints(&[255, 255]).mean_dim(0));
        let mean = std::panic::catch_unwind(|| ints(&[255, 255]).mean());
        match mean {
            Ok(mean) => show("mean [255 255]", mean),
            Err(message) => println!("{dtype:?} mean [255 255]     panics: {:?}", message.downcast_ref::<String>()),
        }
    }
}
RUST
cat >"$dir/expected" <<'TEXT'
U8 x >= 256           [1, 1, 1, 1]
U8 x < 256            [0, 0, 0, 0]
U8 x + 300            [44, 45, 172, 43]
U8 sum of 1000 ones   [232]
U8 mean_dim [255 255] [127]
U8 mean [255 255]     panics: Some("int_mean: unsupported dtype U8")
I32 x >= 256           [0, 0, 0, 0]
I32 x < 256            [1, 1, 1, 1]
I32 x + 300            [300, 301, 428, 555]
I32 sum of 1000 ones   [1000]
I32 mean_dim [255 255] [255]
I32 mean [255 255]     [255]
TEXT
cargo run --quiet --release --manifest-path "$dir/Cargo.toml" >"$dir/found"
cargo tree --quiet --depth 0 --prefix none --package burn-core --manifest-path "$dir/Cargo.toml"
cat "$dir/found"
diff "$dir/expected" "$dir/found" || { echo 'differs from the output seen before'; exit 1; }
