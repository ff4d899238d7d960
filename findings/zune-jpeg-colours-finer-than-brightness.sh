#!/usr/bin/env bash
# zune-jpeg 0.5.15 decodes a baseline JPEG to wrong pixels if its colours are sampled more finely than its brightness,
# in strict mode as well, and without an error.
#
# The standard leaves it to an encoder which component has the most samples (ITU T.81, A.1.1): `cjpeg -sample
# 1x1,2x1,2x1` writes Cb and Cr with twice as many columns as Y, and libjpeg-turbo doubles the columns of Y. zune-jpeg
# returns an image in which two of three pixels of this drawing are off by more than 16.
#
# Why it matters: strict mode is asked for so that what cannot be decoded is an error. Compare the sampling factors of
# the frame header before decoding.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
# A drawing of 32 x 16 pixels with one scan.
base64 -d >"$dir/drawing.jpg" <<'JPEG'
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMU
FRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU
FBQUFBQUFBT/wAARCAAQACADAREAAiEBAyEB/8QAFgABAQEAAAAAAAAAAAAAAAAABwYI/8QAHBAAAgAHAAAAAAAAAAAAAAAAAAYF
IzNBUWOh/8QAFwEBAQEBAAAAAAAAAAAAAAAABwYIBf/EABoRAAICAwAAAAAAAAAAAAAAAAAEAwUhMWH/2gAMAwEAAhEDEQA/AKBW
dtmLgrKhw78qHDM6NZrBcI1msCarO2zFw0lQ4UEqHBIRrNYLhGs1gxrB3WnM6aIlQ4GkqHAYRrNYElGs1gTYM605nSglQ4GcqHC3
RrNYElGs1g//2Q==
JPEG
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q pillow==12.0.0
"$dir/venv/bin/python" - "$dir" <<'PYTHON'
import sys

from PIL import Image

image = Image.open(f"{sys.argv[1]}/drawing.jpg").convert("RGB")
open(f"{sys.argv[1]}/libjpeg.rgb", "wb").write(image.tobytes())
PYTHON
cat >"$dir/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[workspace]

[dependencies]
zune-jpeg = "=0.5.15"
TOML
cat >"$dir/src/main.rs" <<'RUST'
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let jpeg = std::fs::read(format!("{dir}/drawing.jpg")).unwrap();
    let libjpeg = std::fs::read(format!("{dir}/libjpeg.rgb")).unwrap();
    let options = DecoderOptions::default().set_strict_mode(true).jpeg_set_out_colorspace(ColorSpace::RGB);
    let decoded = JpegDecoder::new_with_options(ZCursor::new(&jpeg), options).decode();
    println!("error: {}", decoded.is_err());
    let zune = decoded.unwrap_or_default();
    let is_off = |(a, b): &(&[u8], &[u8])| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > 16);
    let off = zune.chunks(3).zip(libjpeg.chunks(3)).filter(is_off).count();
    println!("{off} of {} pixels differ from libjpeg-turbo's by more than 16", libjpeg.len() / 3);
}
RUST
cat >"$dir/expected" <<'TEXT'
error: false
325 of 512 pixels differ from libjpeg-turbo's by more than 16
TEXT
cargo run --quiet --release --manifest-path "$dir/Cargo.toml" -- "$dir" >"$dir/found"
cargo tree --quiet --depth 0 --prefix none --package zune-jpeg --manifest-path "$dir/Cargo.toml"
cat "$dir/found"
diff "$dir/expected" "$dir/found" || { echo 'differs from the output seen before'; exit 1; }
