#!/usr/bin/env bash
# Albumentations 2.0.8 mirrors points and boxes by different rules: a point at x goes to W - 1 - x, an edge of a box at
# x goes to W - x.
#
# The first rule is that of pixel numbers, the second that of coordinates. Annotated clicks are coordinates (SA-1B's are
# whole numbers and halves), so a click in a mask that is one pixel wide is beside it after the flip. And as resizing
# scales points as coordinates, flipping and resizing give different points in different order.
#
# Why it matters: prompts that train a model lie a pixel beside their masks, in half of the samples. Move points by half
# a pixel before, or draw them after the flip.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q albumentations==2.0.8 opencv-python-headless==5.0.0.93 numpy==2.4.6
cat >"$dir/expected" <<'TEXT'
box from 10 to 11 becomes 89 to 90
click at 10.5 becomes 88.5
column of the mask: 10 becomes 89
resized to four times, point 10: flipped before 356, after 359
TEXT
NO_ALBUMENTATIONS_UPDATE=1 "$dir/venv/bin/python" - >"$dir/output" <<'PYTHON'
import albumentations as A
import numpy as np

mask = np.zeros((100, 100), np.uint8)
mask[:, 10] = 1


def run(steps, points):
    boxes = A.BboxParams("pascal_voc", label_fields=["labels"])
    compose = A.Compose(steps, bbox_params=boxes, keypoint_params=A.KeypointParams("xy", remove_invisible=False))
    image = np.zeros((100, 100, 3), np.uint8)
    return compose(image=image, mask=mask, bboxes=[[10, 0, 11, 100]], labels=[1], keypoints=points)


flip, resize = A.HorizontalFlip(p=1), A.Resize(400, 400)
out = run([flip], [(10.5, 50.0)])
left, _, right, _ = out["bboxes"][0]
print(f"box from 10 to 11 becomes {left:.0f} to {right:.0f}")
print(f"click at 10.5 becomes {out['keypoints'][0][0]:.1f}")
print(f"column of the mask: 10 becomes {np.flatnonzero(out['mask'][0])[0]}")
before, after = (run(steps, [(10.0, 50.0)])["keypoints"][0][0] for steps in ([flip, resize], [resize, flip]))
print(f"resized to four times, point 10: flipped before {before:.0f}, after {after:.0f}")
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
