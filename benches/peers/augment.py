#!/usr/bin/env python3
"""Compares the augmentation of `maskstream bench` with that of Python stacks, on the same shards.

    pip install torch torchvision albumentations opencv-python-headless pycocotools orjson pillow
    python3 benches/peers/augment.py full/*.tar --maskstream target/release/maskstream
    python3 benches/peers/augment.py full/*.tar --check

Each sample has an image and the masks of highest stability_score, with a box and a point each. All
get the same random resized crop to 1024 x 1024 and a flip; the masks then go to 256 x 256. Clicks
are drawn from each augmented mask, and each box is moved a little.

*torchvision* is PIL and transforms.v2. *albumentations* is OpenCV and A.Compose. *by hand* is what
one can write with NumPy and OpenCV: a crop is a slice, and masks go straight to their size. All
three read JSON with orjson and decode masks with pycocotools, and each takes the fastest layout of
arrays that we know. The images differ: torchvision and maskstream smooth them when they shrink,
OpenCV does not.

Everything runs in one thread. Times are CPU time per sample, medians over rounds. Python's samples
are in memory before; maskstream's total includes reading them. The time of the geometry is that of
the transform of everything, less that of the same transform of the image alone.
"""

import argparse
import io
import json
import statistics
import subprocess
import tarfile
import time
import warnings

import albumentations as A
import cv2
import numpy as np
import orjson
import torch
from PIL import Image
from pycocotools import mask as coco
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

# What `--maskstream` runs; the shards follow. The last epoch counts: the first takes its memory
# from the system.
FLAGS = (
    "bench --json --augment resized-crop --fit stretch --clicks 4 --box-jitter 0.1 --top-k 16"
    " --image-size 1024 --mask-size 256 --num-workers 1 --batch-size 4 --epochs 4"
    " --min-predicted-iou none --min-stability-score none"
).split()

SIDE, GRID, TOP_K, CLICKS = 1024, 256, 16, 4
SCALE, RATIO, FLIP = (0.08, 1.0), (3 / 4, 4 / 3), 0.5
# A box moves by up to this share of its sides, but by no more than this many pixels.
JITTER, JITTER_PIXELS = 0.1, 20
COLOURS = (0.2, 0.2, 0.2, 0.05)

JSON, RLE, GEOMETRY, DECODE, AUGMENT, COLOUR = (
    "json, top-k",
    "RLE to bitmap",
    "geometry, clicks, boxes",
    "image decode",
    "image augmentation",
    "colour jitter, extra",
)
MASKS, IMAGE, TOTAL = "masks, both", "image, both", "total"
# What is shown, and the steps that each row adds up.
ROWS = {
    JSON: [JSON],
    RLE: [RLE],
    GEOMETRY: [GEOMETRY],
    MASKS: [RLE, GEOMETRY],
    DECODE: [DECODE],
    AUGMENT: [AUGMENT],
    IMAGE: [DECODE, AUGMENT],
    TOTAL: [JSON, RLE, GEOMETRY, DECODE, AUGMENT],
    COLOUR: [COLOUR],
}


def top_k(text):
    annotations = orjson.loads(text)["annotations"]
    rank = lambda a: (-a["stability_score"], -a["predicted_iou"], a["id"])
    return sorted(annotations, key=rank)[:TOP_K]


def corners(annotations):
    boxes = np.array([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def points(annotations):
    return np.array([a["point_coords"][0] for a in annotations], np.float32).reshape(-1, 2)


def columns(annotations):
    """Bitmaps as pycocotools makes them: height, width, masks, one column after the other."""
    return coco.decode([a["segmentation"] for a in annotations])


def clicks(masks, draws):
    """Pixels of each mask, all with the same probability, in pixels of the image. NaN: no pixel."""
    drawn = np.full((len(masks), CLICKS, 2), np.nan, np.float32)
    step = SIDE / masks.shape[-1]
    for k, mask in enumerate(masks.view(bool)):
        pixels = np.flatnonzero(mask)
        if len(pixels):
            y, x = divmod(pixels[draws.integers(len(pixels), size=CLICKS)], mask.shape[1])
            drawn[k] = (np.stack([x, y], 1) + 0.5) * step
    return drawn


def moved(boxes, draws):
    sides = boxes[:, 2:] - boxes[:, :2]
    most = np.minimum(JITTER * sides, JITTER_PIXELS)
    by = draws.uniform(-1, 1, boxes.shape) * np.concatenate([most, most], 1)
    return np.clip(boxes + by, 0, SIDE).astype(np.float32)


class Torchvision:
    def __init__(self):
        crop = v2.RandomResizedCrop(SIDE, SCALE, RATIO)
        self.transform = v2.Compose([crop, v2.RandomHorizontalFlip(FLIP)])
        self.to_grid = v2.Resize(GRID)
        self.colours = v2.ColorJitter(*COLOURS)

    def image(self, jpeg):
        with Image.open(io.BytesIO(jpeg)) as opened:
            return F.to_image(opened.convert("RGB"))

    # The transform takes less than a copy to rows would.
    def masks(self, annotations):
        return tv_tensors.Mask(torch.from_numpy(columns(annotations)).permute(2, 0, 1))

    def augment_image(self, image, seed):
        torch.manual_seed(seed)
        return self.transform(image)

    def augment(self, image, masks, annotations, seed):
        size = tuple(image.shape[-2:])
        torch.manual_seed(seed)
        boxes = torch.from_numpy(corners(annotations))
        image, masks, boxes, places = self.transform(
            image,
            masks,
            tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),
            tv_tensors.KeyPoints(torch.from_numpy(points(annotations)), canvas_size=size),
        )
        grids = self.to_grid(masks)
        return image, masks.numpy(), grids.numpy(), boxes.numpy(), places.numpy()

    def crop(self, height, width, seed):
        """Left, top, right and bottom of the crop, and whether it is flipped."""
        crop = self.transform.transforms[0]
        torch.manual_seed(seed)
        drawn = crop.make_params([torch.empty(1, height, width)])
        top, left = drawn["top"], drawn["left"]
        flip = bool(torch.rand(1) < FLIP)
        return left, top, left + drawn["width"], top + drawn["height"], flip

    def recolour(self, image, seed):
        torch.manual_seed(seed)
        return self.colours(image)

    # Its colours are faster on planes than on pixels.
    def uint8(self, image):
        return tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1).contiguous())


class Albumentations:
    def __init__(self):
        self.transform = A.Compose(
            [A.RandomResizedCrop((SIDE, SIDE), SCALE, RATIO), A.HorizontalFlip(p=FLIP)],
            # It drops boxes; the ids tell which ones are left.
            bbox_params=A.BboxParams(
                "pascal_voc", label_fields=["ids"], filter_invalid_bboxes=True
            ),
            keypoint_params=A.KeypointParams("xy", remove_invisible=False),
            save_applied_params=True,
        )
        self.alone = A.Compose(self.transform.transforms)
        factors = [(1 - by, 1 + by) for by in COLOURS[:3]]
        self.colours = A.Compose([A.ColorJitter(*factors, (-COLOURS[3], COLOURS[3]), p=1)])

    def image(self, jpeg):
        return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)

    # It copies a list into an array, and an array of columns into one of rows; OpenCV is faster.
    def masks(self, annotations):
        bitmaps = columns(annotations).T
        masks = np.empty((len(bitmaps), bitmaps.shape[2], bitmaps.shape[1]), np.uint8)
        for bitmap, mask in zip(bitmaps, masks):
            cv2.transpose(bitmap, mask)
        return masks

    def augment_image(self, image, seed):
        self.alone.set_random_seed(seed)
        return self.alone(image=image)["image"]

    def apply(self, image, masks, annotations, seed):
        self.transform.set_random_seed(seed)
        boxes, places = corners(annotations), points(annotations)
        ids = np.arange(len(boxes))
        return self.transform(image=image, masks=masks, bboxes=boxes, ids=ids, keypoints=places)

    def augment(self, image, masks, annotations, seed):
        result = self.apply(image, masks, annotations, seed)
        boxes = np.zeros((len(masks), 4), np.float32)
        boxes[np.asarray(result["ids"], int)] = result["bboxes"]
        masks = result["masks"]
        grids = [cv2.resize(mask, (GRID, GRID), interpolation=cv2.INTER_NEAREST) for mask in masks]
        return result["image"], masks, np.stack(grids), boxes, result["keypoints"]

    def crop(self, height, width, seed):
        image = np.zeros((height, width, 3), np.uint8)
        applied = self.apply(image, np.zeros((1, height, width), np.uint8), [], seed)
        applied = dict(applied["applied_transforms"])
        return *applied["RandomResizedCrop"]["crop_coords"], "HorizontalFlip" in applied

    def recolour(self, image, seed):
        self.colours.set_random_seed(seed)
        return self.colours(image=image)["image"]

    def uint8(self, image):
        return image


class ByHand:
    def image(self, jpeg):
        return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)

    # Masks, columns, rows: no bitmap is copied.
    def masks(self, annotations):
        return columns(annotations).T

    def crop(self, height, width, seed):
        draws = np.random.default_rng(seed)
        left, top, across, down = 0, 0, width, height
        for _ in range(10):
            area = height * width * draws.uniform(*SCALE)
            ratio = np.exp(draws.uniform(*np.log(RATIO)))
            wide, high = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
            if 0 < wide <= width and 0 < high <= height:
                left, top = draws.integers(width - wide + 1), draws.integers(height - high + 1)
                across, down = wide, high
                break
        return left, top, left + across, top + down, draws.random() < FLIP

    def augment_image(self, image, seed):
        left, top, right, bottom, flip = self.crop(*image.shape[:2], seed)
        image = cv2.resize(image[top:bottom, left:right], (SIDE, SIDE))
        return cv2.flip(image, 1) if flip else image

    def augment(self, image, masks, annotations, seed):
        left, top, right, bottom, flip = self.crop(*image.shape[:2], seed)
        image = self.augment_image(image, seed)
        shown = [mask[left:right, top:bottom] for mask in masks]
        nearest = cv2.INTER_NEAREST
        grids = np.stack([cv2.resize(mask, (GRID, GRID), interpolation=nearest) for mask in shown])
        grids = grids.transpose(0, 2, 1)
        scale = SIDE / np.array([right - left, bottom - top, right - left, bottom - top])
        boxes = np.clip((corners(annotations) - [left, top, left, top]) * scale, 0, SIDE)
        places = (points(annotations) - [left, top]) * scale[:2]
        if flip:
            grids = grids[:, :, ::-1]
            boxes[:, [2, 0]] = SIDE - boxes[:, [0, 2]]
            places[:, 0] = SIDE - places[:, 0]
        grids = np.ascontiguousarray(grids)
        return image, None, grids, boxes, places


STACKS = {"torchvision": Torchvision, "albumentations": Albumentations, "by hand": ByHand}


class Stopwatch:
    def __init__(self):
        self.ms = dict.fromkeys([*ROWS[TOTAL], COLOUR], 0.0)

    def time(self, step, run, *inputs):
        start = time.thread_time()
        output = run(*inputs)
        self.ms[step] += 1e3 * (time.thread_time() - start)
        return output


def prompts(masks, grids, boxes, seed, click_side):
    draws = np.random.default_rng(seed)
    drawn = clicks(masks if click_side == SIDE else grids, draws)
    return drawn, moved(boxes, draws)


def one_round(stack, samples, first_seed, click_side):
    watch = Stopwatch()
    for seed, (jpeg, text) in enumerate(samples, first_seed):
        annotations = watch.time(JSON, top_k, text)
        masks = watch.time(RLE, stack.masks, annotations)
        image = watch.time(DECODE, stack.image, jpeg)

        def everything():
            _, full, grids, boxes, _ = stack.augment(image, masks, annotations, seed)
            prompts(full, grids, boxes, seed, click_side)

        watch.time(GEOMETRY, everything)
        augmented = watch.time(AUGMENT, stack.augment_image, image, seed)
        if hasattr(stack, "recolour"):
            if not isinstance(augmented, np.ndarray):
                augmented = augmented.permute(1, 2, 0).contiguous().numpy()
            # The bytes of an augmented image, laid out as the stack likes them best.
            watch.time(COLOUR, stack.recolour, stack.uint8(augmented), seed)
    watch.ms[GEOMETRY] -= watch.ms[AUGMENT]
    sums = {row: sum(watch.ms[step] for step in steps) for row, steps in ROWS.items()}
    return {row: ms / len(samples) for row, ms in sums.items() if ms != 0}


def ours(program, shards):
    command = [program, FLAGS[0], *shards, *FLAGS[1:]]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    figures = json.loads(lines[-1])
    steps = dict(figures["stages_ms"])
    found = {JSON: "json", MASKS: "masks", IMAGE: "image"}
    found = {row: steps[name] for row, name in found.items() if name in steps}
    return found | {TOTAL: figures["process_cpu_ms"]}


def read(shards):
    samples = []
    for shard in shards:
        with tarfile.open(shard) as tar:
            files = [member for member in tar if member.isfile()]
            members = {file.name: tar.extractfile(file).read() for file in files}
        for name in sorted(name for name in members if name.endswith(".jpg")):
            samples.append((members[name], members[name.removesuffix(".jpg") + ".json"]))
    return samples


def nearest(bitmap, left, top, right, bottom, flip, side):
    """A crop of a bitmap, by NumPy alone, in whole numbers."""
    rows = top + np.arange(side) * (bottom - top) // side
    lines = left + np.arange(side) * (right - left) // side
    shown = bitmap[np.ix_(rows, lines)]
    return shown[:, ::-1] if flip else shown


def check_sample(name, stack, jpeg, text, seed):
    """Asserts that everything is where the crop and the flip put it."""
    annotations = top_k(text)
    image, masks = stack.image(jpeg), stack.masks(annotations)
    bitmaps = [coco.decode(a["segmentation"]) for a in annotations]
    height, width = bitmaps[0].shape
    left, top, right, bottom, flip = crop = stack.crop(height, width, seed)
    augmented, full, grids, boxes, places = stack.augment(image, masks, annotations, seed)
    assert np.array_equal(augmented, stack.augment_image(image, seed)), "the image alone differs"
    scale = np.array([SIDE / (right - left), SIDE / (bottom - top)])
    off = drift = 0
    for k, (bitmap, a) in enumerate(zip(bitmaps, annotations)):
        if full is not None:
            exact = nearest(bitmap, *crop, SIDE)
            off += np.count_nonzero(full[k] != exact)
            # The step from 1024 to 256 takes every fourth pixel.
            assert np.array_equal(grids[k], full[k][:: SIDE // GRID, :: SIDE // GRID])
        else:
            exact = nearest(bitmap, *crop, GRID)
            off += np.count_nonzero(grids[k] != exact)
        # The box and the point, in floating point.
        x, y, across, down = a["bbox"]
        ends = (np.array([[x, y], [x + across, y + down]]) - [left, top]) * scale
        ends = np.clip(ends, 0, SIDE)
        point = (np.array(a["point_coords"][0]) - [left, top]) * scale
        if flip:
            ends[:, 0] = SIDE - ends[::-1, 0]
            point[0] = SIDE - point[0]
        if (ends[1] > ends[0]).all() and boxes[k].any():
            assert np.allclose(boxes[k], ends.reshape(4), atol=0.02), (name, k, boxes[k], ends)
        drift = max(drift, np.abs(places[k] - point).max())
    # OpenCV computes the pixel in floating point, and takes the one before it now and then.
    assert off <= 1e-4 * np.size(grids if full is None else full), f"{name}: {off} pixels differ"
    assert drift < 1.01, f"{name}: a point moved by {drift} pixels"
    for side in {GRID} if full is None else {GRID, SIDE}:
        drawn, shifted = prompts(full, grids, boxes, seed, side)
        for mask, pixels in zip(full if side == SIDE else grids, drawn):
            x, y = (pixels / (SIDE / side)).T
            if mask.any():
                assert mask[y.astype(int), x.astype(int)].all(), "a click is not in its mask"
            else:
                assert np.isnan(pixels).all(), "a click in an empty mask"
        assert (np.abs(shifted - boxes) <= JITTER_PIXELS + 1e-3).all(), "a box moved too far"
    return off, float(drift)


def check(samples):
    for name, make in STACKS.items():
        stack = make()
        crops = [(*sample, seed) for seed in range(4) for sample in samples[:5]]
        found = [check_sample(name, stack, *crop) for crop in crops]
        off, drift = sum(off for off, _ in found), max(drift for _, drift in found)
        print(f"{name}: {len(crops)} crops, {off} pixels of masks differ from NumPy's,", end="")
        print(f" points are up to {drift:.2f} pixels off")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", nargs="+")
    parser.add_argument("--maskstream", metavar="BINARY", help="the program to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--click-side",
        type=int,
        default=GRID,
        choices=[GRID, SIDE],
        help="side of the masks that clicks are drawn from; maskstream draws from the original",
    )
    parser.add_argument("--check", action="store_true", help="check five samples, and time nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # That an array of NumPy is read-only, and that torch could write to it.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    samples = read(args.shards)
    if args.check:
        check(samples)
        return
    stacks = {name: make() for name, make in STACKS.items()}
    if args.click_side == SIDE:
        # It has no masks of that size.
        del stacks["by hand"]
    found = {name: [] for name in ["maskstream", *stacks]}
    for stack in stacks.values():
        one_round(stack, samples[:2], 0, args.click_side)
    for number in range(args.rounds):
        if args.maskstream:
            found["maskstream"].append(ours(args.maskstream, args.shards))
        for name, stack in stacks.items():
            first_seed = number * len(samples)
            found[name].append(one_round(stack, samples, first_seed, args.click_side))
    medians = {
        name: {row: statistics.median(f[row] for f in rounds) for row in rounds[0]}
        for name, rounds in found.items()
        if rounds
    }
    # Each Python stack has a second column with its ratio to maskstream.
    theirs = medians.get("maskstream")
    pad = 9 * " " if theirs else ""
    print((f"{'CPU ms/sample':24}" + "".join(f"{name:>15}{pad}" for name in medians)).rstrip())
    for row in ROWS:
        line = f"{row:24}"
        for figures in medians.values():
            line += f"{figures[row]:15.2f}" if row in figures else f"{'-':>15}"
            if theirs:
                both = figures is not theirs and row in figures and row in theirs
                line += f"{figures[row] / theirs[row]:8.2f}x" if both else pad
        print(line.rstrip())


if __name__ == "__main__":
    main()
