#!/usr/bin/env bash
# OpenCV 5.0.0 (opencv-python-headless 5.0.0.93) resizes by INTER_NEAREST from another pixel than the definition names,
# for some sizes and in single places.
#
# By definition, output i of n takes input floor(i * w / n) of w. For 256 outputs, 71 of the widths from 1 to 2250 have
# an output where OpenCV takes the input before that one; w = 186 is the first. It multiplies i by 1 / (n / w), which is
# rounded twice: that formula gives its result for all of the widths. INTER_NEAREST_EXACT has pixel centres and is another definition.
#
# Why it matters: nearest is the way to resize masks, and two programs that resize the same mask to the same size
# differ in a column. Compare masks with a tolerance, or compute the columns in whole numbers.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q opencv-python-headless==5.0.0.93 numpy==2.4.6
cat >"$dir/expected" <<'TEXT'
width 186, output 128 of 256: input 92 instead of 93
256 outputs: 71 of 2250 widths differ
1000 outputs: 236 of 2250 widths differ
TEXT
"$dir/venv/bin/python" - >"$dir/output" <<'PYTHON'
import cv2
import numpy as np


def taken(width, outputs):
    return cv2.resize(np.arange(width, dtype=np.uint16)[None], (outputs, 1), interpolation=cv2.INTER_NEAREST)[0]


def differing(outputs):
    named = lambda width: np.arange(outputs) * width // outputs
    return sum(np.any(taken(width, outputs) != named(width)) for width in range(1, 2251))


print(f"width 186, output 128 of 256: input {taken(186, 256)[128]} instead of {128 * 186 // 256}")
for outputs in (256, 1000):
    print(f"{outputs} outputs: {differing(outputs)} of 2250 widths differ")
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
