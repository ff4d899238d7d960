"""Writes tests/golden/images.bin: small JPEGs, and the pixels that libjpeg-turbo decodes from them.

    pip install numpy pillow simplejpeg
    python scripts/make_image_vectors.py

All samplings of colours; odd sides and multiples of eight; qualities of 1 to 100; restart markers. For each image, one
after the other, numbers being little-endian:

    u16, u16    width, height
    u32         the crc32 of its pixels: red, green, blue, row by row
    u32         length of the JPEG
    bytes       the JPEG
    bytes       if both sides are multiples of eight: its pixels at a half, a quarter and an eighth

The decoder is Pillow's libjpeg-turbo: the accurate integer transform, and interpolated colours.
"""

import argparse
import io
import pathlib
import struct
import zlib

import numpy as np
import simplejpeg
from PIL import Image

SAMPLINGS = ["4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1", "grey", "RGB"]
SIZES = [(1, 1), (3, 2), (17, 23), (31, 9), (24, 16), (40, 24), (5, 37)]
QUALITIES = [1, 7, 25, 50, 75, 90, 100]


def picture(rng, width, height):
    """Soft colours with a hard edge, or noise."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x * a + y * b + c) for a, b, c in rng.normal(size=(3, 3)) * [0.2, 0.2, 9]], -1)
    pixels = waves * 110 + 128 + rng.normal(size=waves.shape) * rng.choice([2, 15])
    pixels[x > rng.integers(1, width + 1)] = rng.integers(0, 2, 3) * 255
    return np.clip(pixels, 0, 255).astype(np.uint8)


def encoded(rng, pixels, sampling, quality):
    if sampling in ("4:4:0", "4:1:1"):
        return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", sampling.replace(":", ""))
    image, out = Image.fromarray(pixels), io.BytesIO()
    settings = {"quality": quality, "optimize": True, "restart_marker_blocks": int(rng.integers(0, 6))}
    if sampling == "RGB":
        settings |= {"keep_rgb": True, "subsampling": "4:4:4"}
    elif sampling != "grey":
        settings["subsampling"] = sampling
    (image.convert("L") if sampling == "grey" else image).save(out, "JPEG", **settings)
    return out.getvalue()


def decoded(jpeg, shift):
    """The pixels at 1 / 2^shift."""
    image = Image.open(io.BytesIO(jpeg))
    size = tuple(side >> shift for side in image.size)
    if shift:
        image.draft(image.mode, size)
    assert image.size == size
    return image.convert("RGB").tobytes()


def main():
    golden = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "images.bin"
    parser = argparse.ArgumentParser(description="Writes what libjpeg-turbo decodes from small JPEGs.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, default=golden)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with open(options.out, "wb") as out:
        for i, sampling in enumerate(SAMPLINGS):
            for j, size in enumerate(SIZES):
                quality = QUALITIES[(i + 3 * j) % len(QUALITIES)]
                jpeg = encoded(rng, picture(rng, *size), sampling, quality)
                out.write(struct.pack("<HHII", *size, zlib.crc32(decoded(jpeg, 0)), len(jpeg)) + jpeg)
                if size[0] % 8 == 0 and size[1] % 8 == 0:
                    out.write(b"".join(decoded(jpeg, shift) for shift in (1, 2, 3)))
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
