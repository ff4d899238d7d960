"""Draws the rows of an exported batch as a picture: masks, boxes, clicks, and what they belong to.

    pip install numpy pillow safetensors
    maskstream export SHARDS --fit stretch --image-size 384 --mask-size 384 --top-k 6 \\
        --augment resized-crop --clicks 2 --negative-clicks 1 --box-jitter 0.1 \\
        --coord-frame canvas-pixels --box-format xyxy --batch-size 8 -o batch.safetensors
    python scripts/draw_batch.py batch.safetensors picture.png

Takes images of type u8, masks of one byte a cell, and boxes and clicks in pixels of the canvas.
"""

import argparse

import numpy as np
from PIL import Image, ImageDraw
from safetensors.numpy import load_file

# Told apart by people who do not see all colours (Okabe and Ito).
COLOURS = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0)]


def draw(batch, row):
    """One row: the image, half-transparent masks, boxes, jittered boxes as thin lines, and clicks."""
    image = batch["images"][row].transpose(1, 2, 0).astype(np.float32)
    valid = np.flatnonzero(batch["valid"][row])
    for k in valid:
        mask = batch["masks"][row, k] > 0
        mask = np.asarray(Image.fromarray(mask).resize(image.shape[1::-1], Image.NEAREST))
        image[mask] = 0.55 * image[mask] + 0.45 * np.array(COLOURS[k % len(COLOURS)])
    picture = Image.fromarray(image.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for k in valid:
        colour = COLOURS[k % len(COLOURS)]
        pen.rectangle(batch["boxes"][row, k].tolist(), outline=colour, width=2)
        if "prompt_boxes" in batch:
            pen.rectangle(batch["prompt_boxes"][row, k].tolist(), outline="white", width=1)
        if "prompt_points" in batch:
            for (x, y), label in zip(batch["prompt_points"][row, k], batch["prompt_labels"][row, k]):
                if label == 1:
                    pen.ellipse([x - 4, y - 4, x + 4, y + 4], fill=colour, outline="black")
                elif label == 0:
                    pen.line([x - 4, y - 4, x + 4, y + 4], fill=colour, width=2)
                    pen.line([x - 4, y + 4, x + 4, y - 4], fill=colour, width=2)
    return np.asarray(picture)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("batch", help="a file that `maskstream export` has written")
    parser.add_argument("picture", help="the PNG to write")
    parser.add_argument("--columns", type=int, default=4)
    args = parser.parse_args()
    batch = load_file(args.batch)
    rows = [draw(batch, row) for row in np.flatnonzero(batch["image_valid"])]
    blank = np.full_like(rows[0], 255)
    rows += [blank] * (-len(rows) % args.columns)
    lines = [np.concatenate(rows[i : i + args.columns], axis=1) for i in range(0, len(rows), args.columns)]
    Image.fromarray(np.concatenate(lines)).save(args.picture)
    print(f"{args.picture}: {len(rows)} rows")


main()
