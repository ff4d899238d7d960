#!/usr/bin/env bash
# Albumentations 2.0.8 drops boxes and points that a crop does not show, and keeps their masks: the lists no longer
# belong together, and no error says so.
#
# Three objects with a mask, a box and a point each go through a crop that shows the last one. One box and one point
# come back, and three masks, of which the first two are empty. Whoever pairs them by position gives the box of the
# third object to the first mask. Labels in `label_fields` follow the boxes and tell which are left.
#
# Why it matters: a random crop drops boxes in most samples of a data set with many small objects.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q albumentations==2.0.8 opencv-python-headless==5.0.0.93 numpy==2.4.6
cat >"$dir/expected" <<'TEXT'
1 boxes, 1 points, 3 masks
pixels of the masks: [0, 0, 400]
the box that is left is of object 2
TEXT
NO_ALBUMENTATIONS_UPDATE=1 "$dir/venv/bin/python" - >"$dir/output" <<'PYTHON'
import albumentations as A
import numpy as np

boxes = [[0, 0, 20, 20], [30, 0, 50, 20], [70, 70, 90, 90]]
masks = np.zeros((3, 100, 100), np.uint8)
for mask, (left, top, right, bottom) in zip(masks, boxes):
    mask[top:bottom, left:right] = 1
points = [((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in boxes]
compose = A.Compose(
    [A.Crop(50, 50, 100, 100)],
    bbox_params=A.BboxParams("pascal_voc", label_fields=["objects"]),
    keypoint_params=A.KeypointParams("xy"),
)
image = np.zeros((100, 100, 3), np.uint8)
out = compose(image=image, masks=masks, bboxes=boxes, objects=[0, 1, 2], keypoints=points)
print(f"{len(out['bboxes'])} boxes, {len(out['keypoints'])} points, {len(out['masks'])} masks")
print(f"pixels of the masks: {[int(mask.sum()) for mask in out['masks']]}")
print(f"the box that is left is of object {int(out['objects'][0])}")
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
