"""Compares a file written by `maskstream export` with PIL, pycocotools and numpy on the same shards.

    pip install numpy pillow pycocotools safetensors
    maskstream export shard.tar --batches 4 --coverage 32 --scaled-decode full -o batch.safetensors
    python scripts/check_export.py batch.safetensors shard.tar

Prints the largest difference of each field, and exits with 1 if one exceeds its tolerance. Images must be exported as
u8 and with --scaled-decode full, masks by nearest centre. scripts/check_images.py compares images of all forms.
"""

import argparse
import io
import json
import sys
import tarfile

import numpy as np
from PIL import Image
from pycocotools import mask as coco
from safetensors.numpy import load_file


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("batch")
    parser.add_argument("shards", nargs="+")
    parser.add_argument("--fit", choices=["letterbox", "stretch"], default="letterbox")
    parser.add_argument("--min-predicted-iou", type=float, default=0.88)
    # Decoded pixels are those of libjpeg-turbo, which PIL uses. The resizers round differently.
    parser.add_argument("--image-tolerance", type=int, default=2)
    args = parser.parse_args()

    batch = load_file(args.batch)
    masks = batch.get("masks")
    if masks is not None and masks.shape[-1] != masks.shape[-2]:
        # --mask-format bits: the grid of the command is a square.
        batch["masks"] = np.unpackbits(masks, axis=-1, count=masks.shape[-2])
    samples = read_shards(args.shards, set(batch["image_ids"].tolist()))
    worst = {}
    psnr = []

    def compare(name, ours, theirs):
        difference = float(np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)).max(initial=0))
        worst[name] = max(worst.get(name, 0.0), difference)

    rows = np.flatnonzero(batch["image_valid"])
    for row in rows:
        jpeg, labels = samples[int(batch["image_ids"][row])]
        image = Image.open(io.BytesIO(jpeg)).convert("RGB")
        width, height = image.size
        side = batch["images"].shape[-1]
        content = content_size(width, height, side, args.fit)
        compare("original_sizes", batch["original_sizes"][row], [height, width])

        resized = np.asarray(image.resize(content, Image.BILINEAR)).transpose(2, 0, 1)
        ours = batch["images"][row]
        inside = ours[:, : content[1], : content[0]]
        compare("images", inside, resized)
        psnr.append(10 * np.log10(255**2 / np.mean((inside.astype(float) - resized) ** 2)))
        compare("images, padding", ours[:, content[1] :], 0)
        compare("images, padding", ours[:, :, content[0] :], 0)

        chosen = choose(labels["annotations"], args.min_predicted_iou, batch["valid"].shape[1])
        compare("valid", batch["valid"][row], np.arange(batch["valid"].shape[1]) < len(chosen))
        for k, annotation in enumerate(chosen):
            x, y, w, h = annotation["bbox"]
            compare("boxes", batch["boxes"][row, k], np.float32([x / width, y / height, w / width, h / height]))
            px, py = annotation["point_coords"][0]
            compare("points", batch["points"][row, k], np.float32([px / width, py / height]))
            for name in ("predicted_iou", "stability_score", "area"):
                compare(name, batch[name][row, k], np.float32(annotation[name]))
            compare("annotation_ids", batch["annotation_ids"][row, k], annotation["id"])
            bitmap = coco.decode(annotation["segmentation"])
            if "masks" in batch:
                compare("masks", batch["masks"][row, k], nearest(bitmap, batch["masks"].shape[-2:], content, side))
            if "coverage" in batch:
                compare("coverage", batch["coverage"][row, k], coverage(bitmap, batch["coverage"].shape[-1], content, side))
        for name in ("masks", "coverage", "boxes", "points", "valid", "annotation_ids", "area"):
            if name in batch:
                compare(name + ", unused rows", batch[name][row, len(chosen) :], 0)

    # Everything except the images is exact up to the rounding of float32.
    allowed = {"images": args.image_tolerance, "coverage": 1e-6, "boxes": 1e-6, "points": 1e-6}
    failed = False
    print(f"{len(rows)} samples, {int(batch['valid'].sum())} masks")
    for name, difference in worst.items():
        bad = difference > allowed.get(name, 0)
        failed |= bad
        print(f"  {name:32} largest difference {difference:.3g}{'   TOO LARGE' if bad else ''}")
    print(f"  images: PSNR against PIL {min(psnr):.1f} dB at least, {np.mean(psnr):.1f} dB on average")
    return int(failed)


def read_shards(paths, image_ids):
    """image_id -> (jpeg, labels) of the wanted images."""
    jpegs, labels = {}, {}
    for path in paths:
        with tarfile.open(path, "r:*") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                data = tar.extractfile(member).read()
                stem, _, extension = member.name.rpartition(".")
                if extension == "json":
                    labels[stem] = json.loads(data)
                elif extension == "jpg":
                    jpegs[stem] = data
    found = {label["image"]["image_id"]: (jpegs[stem], label) for stem, label in labels.items() if stem in jpegs}
    return {image_id: found[image_id] for image_id in image_ids if image_id in found}


def choose(annotations, min_iou, k):
    """The top k by stability_score, ties by predicted_iou, then id; scores are float32 as in the batch."""
    kept = [a for a in annotations if np.float32(a["predicted_iou"]) >= np.float32(min_iou)]
    kept.sort(key=lambda a: (-np.float32(a["stability_score"]), -np.float32(a["predicted_iou"]), a["id"]))
    return kept[:k]


def content_size(width, height, side, fit):
    if fit == "stretch":
        return side, side
    scale = side / max(width, height)
    return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))


def nearest(bitmap, shape, content, side):
    """Each cell takes the pixel that contains its centre; 0 outside the image."""
    axes = []
    for pixels, cells, filled in ((bitmap.shape[0], shape[0], content[1]), (bitmap.shape[1], shape[1], content[0])):
        # Integers, so that centres on a pixel's edge fall on the same side everywhere.
        centre = (2 * np.arange(cells, dtype=object) + 1) * side * pixels // (2 * cells * filled)
        axes.append(centre.astype(np.int64))
    padded = np.pad(bitmap, ((0, 1), (0, 1)))
    rows, columns = np.minimum(axes[0], bitmap.shape[0]), np.minimum(axes[1], bitmap.shape[1])
    return padded[np.ix_(rows, columns)]


def coverage(bitmap, cells, content, side):
    """Share of each cell, from the overlap of every pixel with every cell: slow but simple."""
    weights = []
    for pixels, filled in ((bitmap.shape[0], content[1]), (bitmap.shape[1], content[0])):
        edges = np.arange(pixels + 1) * filled * cells / (pixels * side)
        low, high = edges[:-1, None], edges[1:, None]
        cell = np.arange(cells)[None, :]
        weights.append(np.clip(np.minimum(high, cell + 1) - np.maximum(low, cell), 0, None))
    return weights[0].T @ bitmap.astype(np.float64) @ weights[1]


if __name__ == "__main__":
    sys.exit(main())
