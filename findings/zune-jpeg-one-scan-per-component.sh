#!/usr/bin/env bash
# zune-jpeg 0.5.15 decodes a baseline JPEG of the sampling 4:2:0 to wrong pixels if it has one scan for each component,
# in strict mode as well, and without an error.
#
# The components of a sequential JPEG may be interleaved in one scan, or have several scans (ITU T.81, A.2):
# `jpegtran -scans` writes the second form. libjpeg-turbo decodes both to the same pixels. zune-jpeg does so for 4:4:4
# only; for 4:2:0 nearly all pixels are off by more than 16.
#
# Why it matters: strict mode is asked for so that what cannot be decoded is an error. Check the number of scans before
# decoding, and make one scan of several.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
# A drawing of 24 x 16 pixels, 4:2:0, with three scans.
base64 -d >"$dir/drawing.jpg" <<'JPEG'
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAx
NDQ0Hyc5PTgyPC4zNDL/2wBDAQkJCQwLDBgNDRgyIRwhMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIy
MjIyMjIyMjL/wAARCAAQABgDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAABQb/xAAYEAACAwAAAAAAAAAAAAAAAAAAAwUi
Mf/aAAgBAQAAPwCBRDZUURDZUTRDZUbRDZUURDZUTRDZU//EABQBAQAAAAAAAAAAAAAAAAAAAAb/xAAZEQACAwEAAAAAAAAAAAAA
AAAABQQhMSL/2gAIAQIRAD8ASMX22DJD7vT/xAAVAQEBAAAAAAAAAAAAAAAAAAAFB//EABoRAAICAwAAAAAAAAAAAAAAAAAFASEE
IzH/2gAIAQMRAD8AJUuOWUPFca4s/9k=
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
    let scans = jpeg.windows(2).filter(|pair| pair == &[0xff, 0xda]).count();
    let options = DecoderOptions::default().set_strict_mode(true).jpeg_set_out_colorspace(ColorSpace::RGB);
    let decoded = JpegDecoder::new_with_options(ZCursor::new(&jpeg), options).decode();
    println!("{scans} scans, error: {}", decoded.is_err());
    let zune = decoded.unwrap_or_default();
    let is_off = |(a, b): &(&[u8], &[u8])| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > 16);
    let off = zune.chunks(3).zip(libjpeg.chunks(3)).filter(is_off).count();
    println!("{off} of {} pixels differ from libjpeg-turbo's by more than 16", libjpeg.len() / 3);
}
RUST
cat >"$dir/expected" <<'TEXT'
3 scans, error: false
384 of 384 pixels differ from libjpeg-turbo's by more than 16
TEXT
cargo run --quiet --release --manifest-path "$dir/Cargo.toml" -- "$dir" >"$dir/found"
cargo tree --quiet --depth 0 --prefix none --package zune-jpeg --manifest-path "$dir/Cargo.toml"
cat "$dir/found"
diff "$dir/expected" "$dir/found" || { echo 'differs from the output seen before'; exit 1; }
