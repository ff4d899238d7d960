"""Writes tests/golden/masks.jsonl: the results of pycocotools for generated masks, polygons and boxes.

    pip install numpy pycocotools==2.0.11
    python scripts/make_mask_vectors.py

A larger set for a live comparison, which `tests/it/mask/golden.rs` reads as well if MASKSTREAM_MASK_VECTORS names it:

    python scripts/make_mask_vectors.py --masks 100000 --polygons 10000 --seed 7 --out /tmp/vectors.jsonl

A line holds one group of masks of one image size, or one matrix of boxes.

    from       bitmap, runs, polygon or box: the source of the masks
    size       height, width
    source     the runs, polygons or boxes; bitmaps are left out
    mask       for each mask: counts string, area, toBbox, and the crc32 of its bitmap column by column, row by row, and
               as numpy.packbits(axis=1)
    merge      [intersect, which masks, counts string of the result]
    dt         the number of masks, counted from the first, that are matched with all masks
    crowd      for each mask: whether it is a crowd
    iou        row by row: without crowds, then with them

For masks with an empty run there are no merges and overlaps, because pycocotools stops at such a run, and no box if no
pixel is left.
"""

import argparse
import json
import pathlib
import zlib

import numpy as np
from pycocotools import mask as coco


# Bitmaps


def blob(rng, y, x):
    height, width = y.shape
    cy, cx, radius = rng.random() * height, rng.random() * width, rng.random() * max(height, width) * 0.7
    angle = np.arctan2(y - cy, x - cx)
    return np.hypot((y - cy) * (0.5 + rng.random()), x - cx) < radius * (1 + 0.3 * np.sin(rng.integers(2, 9) * angle))


def ring(rng, y, x):
    height, width = y.shape
    distance = np.hypot(y - rng.random() * height, x - rng.random() * width)
    radius = rng.random() * max(height, width)
    return (distance < radius) & (distance > radius * rng.random())


def rings(rng, y, x):
    height, width = y.shape
    return np.hypot(y - rng.random() * height, x - rng.random() * width) % (4 + rng.random() * 8) < 2


def thin(rng, y, x):
    """Strokes one or two pixels wide."""
    height, width = y.shape
    bitmap = np.zeros(y.shape, bool)
    for _ in range(rng.integers(1, 4)):
        angle = rng.random() * np.pi
        distance = (x - rng.random() * width) * np.sin(angle) - (y - rng.random() * height) * np.cos(angle)
        bitmap |= np.abs(distance) < 0.3 + rng.random()
    return bitmap


def noise(rng, y, x):
    return rng.random(y.shape) < rng.random()


def sparse(rng, y, x):
    return rng.random(y.shape) < 3 / y.size


def patches(rng, y, x):
    """Smoothed noise: blobs with holes."""
    field = sum(np.sin(x * a + y * b + c) for a, b, c in rng.normal(size=(5, 3)) * [0.4, 0.4, 9])
    return field > rng.normal()


def pixel(rng, y, x):
    bitmap = np.zeros(y.shape, bool)
    bitmap[rng.integers(y.shape[0]), rng.integers(y.shape[1])] = True
    return bitmap


def rectangle(rng, y, x):
    top, bottom = np.sort(rng.integers(0, y.shape[0] + 1, 2))
    left, right = np.sort(rng.integers(0, y.shape[1] + 1, 2))
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)


def frame(rng, y, x):
    height, width = y.shape
    return (y == 0) | (x == 0) | (y == height - 1) | (x == width - 1)


SMOOTH = [
    blob, blob, ring, rings, thin, patches, sparse, pixel, rectangle, frame,
    lambda rng, y, x: ~pixel(rng, y, x),
    lambda rng, y, x: np.zeros(y.shape, bool),
    lambda rng, y, x: np.ones(y.shape, bool),
    lambda rng, y, x: x == rng.integers(y.shape[1]),
    lambda rng, y, x: y == rng.integers(y.shape[0]),
    lambda rng, y, x: x % 2 == rng.integers(2),
]  # fmt: skip
ROUGH = [
    noise, noise,
    lambda rng, y, x: (x + y) % 2 == rng.integers(2),
    lambda rng, y, x: y % 2 == rng.integers(2),
    lambda rng, y, x: (x // 3 + y // 3) % 2 == 0,
]  # fmt: skip


def image_size(rng, largest):
    """Height and width: square, tall or wide, rarely large."""
    side = int(rng.choice([4, 12, 24, 40], p=[0.2, 0.3, 0.3, 0.2]))
    narrow, long = int(rng.integers(1, 5)), int(rng.integers(1, 250))
    shape = rng.random()
    if shape < 0.72:
        return int(rng.integers(1, side + 1)), int(rng.integers(1, side + 1))
    if shape < 0.85:
        return long, narrow
    if shape < 0.98:
        return narrow, long
    return int(rng.integers(100, largest)), int(rng.integers(100, largest))


def bitmap_of(rng, height, width):
    y, x = np.mgrid[:height, :width]
    kinds = SMOOTH if height * width > 1200 or rng.random() < 0.75 else ROUGH
    kind = kinds[rng.integers(len(kinds))]
    return np.asfortranarray(kind(rng, y, x), np.uint8)


# Polygons: lists of points, which may lie outside the image of height x width


def scatter(rng, height, width):
    """Random points: the outline crosses itself."""
    return rng.random((rng.integers(3, 9), 2)) * [width, height]


def star(rng, height, width):
    points = rng.integers(2, 9)
    radius = np.resize([1, 0.2 + 0.6 * rng.random()], 2 * points) * rng.random() * max(height, width)
    angle = np.arange(2 * points) * np.pi / points + rng.random() * 7
    return np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None] + rng.random(2) * [width, height]


def pentagram(rng, height, width):
    angle = np.arange(5) * np.pi * 0.8 + rng.random() * 7
    return (np.stack([np.cos(angle), np.sin(angle)], 1) * rng.random() + rng.random(2)) * [width, height]


def curve(rng, height, width):
    """Many points along a smooth outline."""
    angle = np.linspace(0, 2 * np.pi, rng.integers(30, 120), endpoint=False)
    radius = 1 + 0.3 * np.sin(angle * rng.integers(2, 9))
    shape = np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None] * rng.random() / 2
    return (shape + rng.random(2)) * [width, height]


def duplicates(rng, height, width):
    return np.repeat(scatter(rng, height, width), rng.integers(1, 4), axis=0)


def outside(rng, height, width):
    """Vertices to the left of, above and beyond the image."""
    return (rng.random((rng.integers(3, 8), 2)) * 3 - 1) * [width, height]


def far(rng, height, width):
    return rng.normal(size=(rng.integers(3, 6), 2)) * 10.0 ** rng.integers(2, 5)


def halves(rng, height, width):
    return np.round(scatter(rng, height, width) * 2) / 2


def whole(rng, height, width):
    return np.round(outside(rng, height, width))


def tenths(rng, height, width):
    """Coordinates of which five times is a half-integer, or just beside one: the last bit of a number matters."""
    points = np.round(outside(rng, height, width) * 10) / 10
    for _ in range(rng.integers(3)):
        points = np.nextafter(points, rng.choice([-np.inf, np.inf], points.shape))
    return points


def hundredths(rng, height, width):
    """A polygon as in the annotations of COCO."""
    return np.round(curve(rng, height, width) * 100) / 100


def tiny(rng, height, width):
    return rng.random((rng.integers(3, 6), 2)) * rng.random() + rng.integers(0, 9, 2)


def collinear(rng, height, width):
    return rng.random((rng.integers(3, 6), 1)) * rng.random((1, 2)) * [width, height] + rng.integers(0, 5, 2)


def upright(rng, height, width):
    """Horizontal and vertical edges."""
    points = scatter(rng, height, width)
    return np.stack([np.repeat(points[:, 0], 2), np.roll(np.repeat(points[:, 1], 2), 1)], 1)


def one_point(rng, height, width):
    return np.repeat(rng.random((1, 2)) * [width, height], 3, axis=0)


POLYGONS = [
    scatter, star, pentagram, curve, duplicates, outside, far, halves, whole, tenths, hundredths, tiny, collinear,
    upright, one_point,
]  # fmt: skip


def polygon_of(rng, height, width):
    kind = POLYGONS[rng.integers(len(POLYGONS))]
    points = kind(rng, height, width)
    # Fewer digits keep the file small; some points keep all digits.
    digits = int(rng.choice([1, 2, 3, 17]))
    points = points if digits == 17 or kind is tenths else np.round(points, digits)
    return [float(v) for v in points.ravel()]


def box_of(rng, height, width):
    box = rng.random(4) * [width, height, width, height] * rng.choice([1, 1, 2]) - rng.choice([0, 0, 3])
    if rng.random() < 0.5:
        box = np.round(box * 2) / 2
    if rng.random() < 0.1:
        box[rng.integers(2, 4)] = 0
    return [float(v) for v in box]


# Runs


def runs_of(rng, height, width, empty):
    """Random runs, on request with empty ones among them."""
    left, runs = height * width, []
    # Not too many of them in a large image.
    longest = int(rng.integers(1, 2 * height + 2)) + height * width // 400
    while left > 0:
        lowest = 0 if empty or not runs else 1
        run = min(int(rng.integers(lowest, max(longest, lowest) + 1)), left)
        runs.append(run)
        left -= run
    return runs + [0] * (int(rng.integers(3)) if empty else 0)


# Lines


def counts_of(rle):
    return rle["counts"].decode()


def described(rles, sound=True):
    """The results of pycocotools for each mask."""
    found = []
    for rle, area, box in zip(rles, [int(coco.area(rle)) for rle in rles], coco.toBbox(rles)):
        bitmap = coco.decode(rle)
        assert int(bitmap.sum()) == area
        crcs = [bitmap.tobytes(order="F"), bitmap.tobytes(order="C"), np.packbits(bitmap, axis=1).tobytes()]
        box = [int(v) for v in box] if sound or area else None
        found.append([counts_of(rle), area, box, *(zlib.crc32(crc) for crc in crcs)])
    return found


def compared(rng, rles):
    """The results of pycocotools for the masks together."""
    count = len(rles)
    chosen = [list(range(count))]
    if count > 2:
        chosen.append([int(v) for v in rng.choice(count, 2, replace=False)])
    merge = [
        [intersect, which, counts_of(coco.merge([rles[i] for i in which], intersect))]
        for which in chosen
        for intersect in (0, 1)
    ]
    dt = min(count, 2)
    crowd = [int(v) for v in rng.integers(0, 2, count)]
    iou = [coco.iou(rles[:dt], rles, flags).ravel().tolist() for flags in ([0] * count, crowd)]
    return {"merge": merge, "dt": dt, "crowd": crowd, "iou": iou}


def group(rng, origin, size, source, rles, sound=True):
    line = {"from": origin, "size": list(size)}
    if source is not None:
        line["source"] = source
    line["mask"] = described(rles, sound)
    return line | (compared(rng, rles) if sound else {})


def mask_lines(rng, wanted, largest):
    """`wanted` masks from bitmaps and runs, several of one size per line."""
    sizes = [(1, 1), (1, 40), (40, 1), (7, 13), (31, 64), (64, 31), (33, 33), (150, 225)]
    while wanted > 0:
        height, width = sizes.pop() if sizes else image_size(rng, largest)
        count = min(int(rng.integers(1, 7)), wanted)
        wanted -= count
        if rng.random() < 0.8:
            bitmaps = [bitmap_of(rng, height, width) for _ in range(count)]
            rles = coco.encode(np.asfortranarray(np.stack(bitmaps, 2)))
            assert all((coco.decode(rle) == bitmap).all() for rle, bitmap in zip(rles, bitmaps))
            yield group(rng, "bitmap", (height, width), None, rles)
        else:
            empty = bool(rng.integers(2))
            runs = [runs_of(rng, height, width, empty) for _ in range(count)]
            rles = coco.frPyObjects([{"size": [height, width], "counts": one} for one in runs], height, width)
            yield group(rng, "runs", (height, width), runs, rles, sound=not any(0 in one[1:] for one in runs))


def polygon_lines(rng, wanted, largest):
    """`wanted` polygons, several per line, and a fifth as many boxes."""
    while wanted > 0:
        height, width = (int(v) for v in rng.integers(1, 60, 2)) if rng.random() < 0.9 else image_size(rng, largest)
        count = min(int(rng.integers(1, 6)), wanted)
        wanted -= count
        polygons = [polygon_of(rng, height, width) for _ in range(count)]
        rles = coco.frPyObjects(polygons, height, width)
        yield group(rng, "polygon", (height, width), polygons, rles)
        if rng.random() < 0.2:
            boxes = [box_of(rng, height, width) for _ in range(count)]
            yield group(rng, "box", (height, width), boxes, coco.frPyObjects(np.array(boxes), height, width))
            dt, gt = boxes, [box_of(rng, height, width) for _ in range(int(rng.integers(1, 5)))]
            crowd = [int(v) for v in rng.integers(0, 2, len(gt))]
            iou = [coco.iou(np.array(dt), np.array(gt), flags) for flags in ([0] * len(gt), crowd)]
            if all(np.isfinite(matrix).all() for matrix in iou):
                yield {"boxes": [dt, gt], "crowd": crowd, "iou": [matrix.ravel().tolist() for matrix in iou]}


def main():
    golden = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "masks.jsonl"
    parser = argparse.ArgumentParser(description="Writes what pycocotools says of generated masks.")
    parser.add_argument("--masks", type=int, default=2400)
    parser.add_argument("--polygons", type=int, default=1000)
    parser.add_argument("--side", type=int, default=400, help="largest side of the few large images")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, default=golden)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with open(options.out, "w", newline="\n") as out:
        masks = mask_lines(rng, options.masks, options.side)
        polygons = polygon_lines(rng, options.polygons, options.side)
        for lines in masks, polygons:
            for line in lines:
                out.write(json.dumps(line, separators=(",", ":")) + "\n")
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
