"""Writes tests/golden/colors.jsonl: pixels, and what torchvision makes of them when it changes their colours.

    pip install torch==2.9.1 torchvision==0.24.1
    python scripts/make_color_vectors.py

The first line has the pixels: an image of uint8, all of red first, then green and blue, in hexadecimal digits. Each
other line has a list of changes, each a name and a number, and the pixels after all of them.
"""

import json
import pathlib

import torch
from torchvision.transforms.v2 import functional

CHANGES = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "saturation": functional.adjust_saturation,
    "hue": functional.adjust_hue,
    "grayscale": lambda image, _: functional.rgb_to_grayscale(image, num_output_channels=3),
}
SINGLE = [("brightness", n) for n in (0.0, 0.37, 0.9, 1.1, 2.5)]
SINGLE += [("contrast", n) for n in (0.0, 0.4, 0.97, 1.03, 3.0)]
SINGLE += [("saturation", n) for n in (0.0, 0.4, 0.97, 1.03, 3.0)]
SINGLE += [("hue", n) for n in (-0.5, -0.2, -0.01, 0.0, 0.05, 0.3, 0.5)]
SINGLE += [("grayscale", 0.0)]
LISTS = [[single] for single in SINGLE] + [
    [("brightness", 0.9), ("contrast", 1.03), ("saturation", 0.97)],
    [("saturation", 1.4), ("hue", 0.07), ("contrast", 0.8), ("brightness", 1.2)],
    [("hue", -0.1), ("contrast", 1.3), ("grayscale", 0.0)],
]


def pixels():
    """Corners and edges of the cube of colours, greys and near greys, and random colours."""
    steps = [0, 1, 2, 127, 128, 253, 254, 255]
    cube = torch.cartesian_prod(*[torch.tensor(steps)] * 3)
    greys = torch.arange(256).repeat_interleave(3).reshape(256, 3)
    near = (greys[::4] + torch.tensor([0, 1, -1])).clamp(0, 255)
    random = torch.randint(0, 256, (128, 3), generator=torch.Generator().manual_seed(1))
    return torch.cat([cube, greys[::4], near, random]).to(torch.uint8)


def main():
    image = pixels().T.reshape(3, -1, 8).contiguous()
    digits = lambda image: image.reshape(-1).numpy().tobytes().hex()
    lines = [{"width": image.shape[2], "height": image.shape[1], "pixels": digits(image)}]
    for changes in LISTS:
        result = image
        for name, number in changes:
            result = CHANGES[name](result, number)
        lines.append({"changes": changes, "pixels": digits(result)})
    path = pathlib.Path(__file__).parent.parent / "tests/golden/colors.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(f"{len(lines) - 1} results of {image.shape[1] * image.shape[2]} pixels in {path}")


main()
