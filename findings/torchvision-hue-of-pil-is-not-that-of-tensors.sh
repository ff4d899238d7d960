#!/usr/bin/env bash
# torchvision 0.24.1 gives a PIL image other colours than a tensor of the same pixels: `adjust_hue` differs by up to 15
# of 255, and changes a PIL image even if the hue is turned by 0.
#
# For tensors, it computes HSV in floats. For PIL images, it goes through Pillow's HSV mode, whose three channels are
# bytes: the way there and back alone loses up to 6. `adjust_saturation` and `adjust_contrast` differ by up to 2, as
# Pillow rounds grey values and their mean; `adjust_brightness` is the same. So it is with ColorJitter, which calls them.
#
# Why it matters: a pipeline that decodes to tensors instead of PIL images, or a loader that follows the tensors'
# formulas, trains on other colours with the same settings and the same random numbers. Compare colours with tensors.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.9.1 torchvision==0.24.1 pillow==12.0.0 numpy==2.3.5
cat >"$dir/expected" <<'TEXT'
adjust_hue 0.0: largest difference 6
adjust_hue 0.05: largest difference 13
adjust_hue 0.25: largest difference 15
adjust_saturation 3.0: largest difference 2
adjust_contrast 3.0: largest difference 1
adjust_brightness 1.3: largest difference 0
TEXT
"$dir/venv/bin/python" - >"$dir/output" <<'PYTHON'
import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
tensor = torch.from_numpy(pixels).permute(2, 0, 1)
image = Image.fromarray(pixels)
for name, number in [
    ("adjust_hue", 0.0),
    ("adjust_hue", 0.05),
    ("adjust_hue", 0.25),
    ("adjust_saturation", 3.0),
    ("adjust_contrast", 3.0),
    ("adjust_brightness", 1.3),
]:
    change = getattr(F, name)
    of_tensor = change(tensor, number).permute(1, 2, 0).numpy().astype(int)
    of_image = np.asarray(change(image, number)).astype(int)
    print(f"{name} {number}: largest difference {np.abs(of_image - of_tensor).max()}")
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
