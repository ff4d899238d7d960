"""Writes tests/golden/masks.json: what pycocotools says of generated masks.

    pip install numpy pycocotools==2.0.11
    python scripts/make_mask_vectors.py

Each entry holds height, width, the counts string, area, bbox (toBbox) and the crc32 of the column-major bitmap.
"""

import json
import pathlib
import zlib

import numpy as np
from pycocotools import mask as coco

SIZES = [(1, 1), (1, 40), (40, 1), (7, 13), (31, 64), (64, 31), (33, 33), (150, 225)]


def bitmaps(rng):
    """Generated masks of every kind that stresses a run-length codec."""
    for height, width in SIZES:
        y, x = np.mgrid[:height, :width]
        yield np.zeros((height, width))
        yield np.ones((height, width))
        one = np.zeros((height, width))
        one[rng.integers(height), rng.integers(width)] = 1
        yield one
        yield (x + y) % 2
        yield x % 2
        yield y % 2
        for _ in range(4):
            yield rng.random((height, width)) < rng.random()
        for _ in range(4):
            centre_x, centre_y, radius = rng.random() * width, rng.random() * height, rng.random() * max(height, width)
            wobble = 1 + 0.3 * np.sin(rng.integers(2, 9) * np.arctan2(y - centre_y, x - centre_x))
            blob = np.hypot(x - centre_x, y - centre_y) < radius * wobble
            yield blob
            yield blob & (np.hypot(x - centre_x, y - centre_y) > radius / 2)


def main():
    vectors = []
    for bitmap in bitmaps(np.random.default_rng(1)):
        bitmap = np.asfortranarray(bitmap, np.uint8)
        rle = coco.encode(bitmap)
        vectors.append(
            {
                "height": bitmap.shape[0],
                "width": bitmap.shape[1],
                "counts": rle["counts"].decode(),
                "area": int(coco.area(rle)),
                "bbox": [int(v) for v in coco.toBbox(rle)],
                "crc32": zlib.crc32(coco.decode(rle).tobytes(order="F")),
            }
        )
    path = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "masks.json"
    path.write_text("[\n" + ",\n".join(json.dumps(vector) for vector in vectors) + "\n]\n")
    print(f"{path}: {len(vectors)} masks, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
