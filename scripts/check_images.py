"""Compares the pixels of `maskstream export` with those of libjpeg-turbo and Pillow.

    pip install numpy pillow safetensors simplejpeg
    python3 scripts/check_images.py --maskstream target/release/maskstream

Makes some 300 JPEGs in a temporary folder: gradients, noise, text and saturated colours; in all samplings of colours,
with sides of 1 to 70 and of up to 2249 pixels, qualities of 1 to 100, restart markers, tables of their own, and
progressive. Photos of your own are encoded in the same ways with --photos. The JPEGs go through the command as a shard,
at several image sizes, and each is compared with what Pillow (its libjpeg-turbo) makes of the same file:

    own size   --scaled-decode full at the image's own size, with the decoded image
    resized    --scaled-decode full at smaller and larger sizes, with its resize(BILINEAR)
    scaled     --scaled-decode auto, with libjpeg-turbo's decoding at a half, a quarter or an eighth, resized likewise.
               Of an odd side, the last of its pixels counts for the part that the image covers.
    in all     the same with the resized image of full size: what scaled decoding costs. Has no bound.

At the own size, all pixels must be the same; progressive JPEGs, which another decoder decodes, may differ. Prints the
largest difference there, the least PSNR in decibels and the median; 99 stands for equal images. Ends with a non-zero
exit code if one is beyond its bound, and names the file. With jpegtran on the PATH, samplings that Pillow does not
write have all forms, too.
"""

import argparse
import collections
import io
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile

import numpy as np
import simplejpeg
from PIL import Image, ImageFile
from safetensors.numpy import load_file

# The least PSNR, of images that have enough pixels for one; in smaller ones, no level may differ by more than 1.
BOUNDS = {"resized": 50, "scaled": 45}
ENOUGH_PIXELS = 64
# Progressive JPEGs are decoded by zune-jpeg, which interpolates colours in another way.
PROGRESSIVE = 35
SAMPLINGS = ["4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1", "grey", "RGB"]
FORMS = ["baseline", "restart", "optimized", "progressive"]
LONGEST_SIDES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 16, 17, 19, 24, 25, 31, 32, 33, 37, 40, 47, 48, 53, 64, 65, 70]
LARGE = [(201, 333), (640, 480), (479, 641), (1024, 683), (2249, 1501), (1500, 2250)]
# Sizes that images are brought to, as parts of their longest side.
PARTS = [0.09, 0.21, 0.37, 0.5, 0.83, 1.9]
SCALED_PARTS = [1 / 8, 0.17, 1 / 4, 0.3, 0.43, 1 / 2]

# Pillow writes progressive and optimized files in one piece.
ImageFile.MAXBLOCK = 1 << 25

Made = collections.namedtuple("Made", "name sampling form jpeg")


# Pictures of height x width


def gradient(rng, y, x):
    waves = [np.sin(x * a + y * b + c) for a, b, c in rng.normal(size=(3, 3)) * [0.1, 0.1, 9]]
    return np.stack(waves, -1) * 120 + 128


def noise(rng, y, x):
    return rng.integers(0, 256, (*y.shape, 3))


def soft_noise(rng, y, x):
    return gradient(rng, y, x) + rng.normal(size=(*y.shape, 3)) * 20


def text(rng, y, x):
    """Dark strokes of one and two pixels on paper."""
    ink = rng.random((y.shape[0] // 3 + 1, y.shape[1] // 2 + 1)) < 0.4
    page = np.kron(ink, np.ones((3, 2)))[: y.shape[0], : y.shape[1], None]
    return np.where(page > 0, rng.integers(0, 60, 3), rng.integers(190, 256, 3))


def saturated(rng, y, x):
    """Patches of pure colours with hard edges."""
    side = int(rng.integers(2, 14))
    colours = rng.integers(0, 2, (y.shape[0] // side + 1, y.shape[1] // side + 1, 3)) * 255
    return colours[y // side, x // side]


def flat(rng, y, x):
    return np.broadcast_to(rng.integers(0, 256, 3), (*y.shape, 3))


PICTURES = [gradient, soft_noise, text, saturated, noise, gradient, soft_noise, flat]


def picture(rng, width, height):
    y, x = np.mgrid[:height, :width]
    return np.clip(PICTURES[rng.integers(len(PICTURES))](rng, y, x), 0, 255).astype(np.uint8)


# JPEGs


def encoded(rng, pixels, sampling, form, quality):
    """A JPEG, and the form that it has."""
    if sampling in ("4:4:0", "4:1:1"):
        rows = np.ascontiguousarray(pixels)
        return transcoded(rng, simplejpeg.encode_jpeg(rows, quality, "RGB", sampling.replace(":", "")), form)
    settings = {"quality": quality, "optimize": form == "optimized", "progressive": form == "progressive"}
    if form == "restart":
        settings["restart_marker_blocks"] = int(rng.integers(1, 20))
    if sampling == "RGB":
        settings |= {"keep_rgb": True, "subsampling": "4:4:4"}
    elif sampling != "grey":
        settings["subsampling"] = sampling
    image = Image.fromarray(pixels)
    out = io.BytesIO()
    (image.convert("L") if sampling == "grey" else image).save(out, "JPEG", **settings)
    return out.getvalue(), form


def transcoded(rng, jpeg, form):
    """The same coefficients in another form."""
    if form == "baseline" or not shutil.which("jpegtran"):
        return jpeg, "baseline"
    flags = {"restart": ["-restart", f"{rng.integers(1, 20)}B"], "optimized": ["-optimize"]}
    command = ["jpegtran", *flags.get(form, ["-progressive"])]
    return subprocess.run(command, input=jpeg, stdout=subprocess.PIPE, check=True).stdout, form


def quality_of(rng):
    """1 to 100; one in three is among the extremes."""
    return int(rng.integers(1, 101) if rng.random() < 0.67 else rng.choice([1, 2, 5, 10, 95, 98, 99, 100]))


def generated(rng):
    """Yields a list of JPEGs for each longest side."""
    number = 0
    for side in LONGEST_SIDES + LARGE:
        made = []
        for sampling in SAMPLINGS:
            for _ in range(1 if isinstance(side, tuple) else 2):
                size = side
                if not isinstance(size, tuple):
                    size = (side, int(rng.integers(1, side + 1)))[:: rng.choice([1, -1])]
                pixels = picture(rng, *size)
                number += 1
                form, quality = FORMS[number % len(FORMS)], quality_of(rng)
                jpeg, form = encoded(rng, pixels, sampling, form, quality)
                made.append(Made(f"{number}_{size[0]}x{size[1]}_q{quality}_{form}.jpg", sampling, form, jpeg))
        yield made


def photographed(rng, folder):
    """The same of each photo of a folder, in all samplings."""
    for path in sorted(pathlib.Path(folder).iterdir()):
        try:
            pixels = np.asarray(Image.open(path).convert("RGB"))
        except OSError:
            continue
        made = []
        for number, sampling in enumerate(SAMPLINGS):
            form, quality = FORMS[number % len(FORMS)], quality_of(rng)
            jpeg, form = encoded(rng, pixels, sampling, form, quality)
            made.append(Made(f"{path.name}_{sampling}_q{quality}_{form}", sampling, form, jpeg))
        yield made


# The command


def pack(made, path):
    """A shard of the JPEGs, whose image ids are their places."""
    with tarfile.open(path, "w") as tar:
        for number, one in enumerate(made):
            width, height = Image.open(io.BytesIO(one.jpeg)).size
            mask = {"size": [height, width], "counts": [0, height * width]}
            annotation = {"id": number, "segmentation": mask, "bbox": [0, 0, width, height], "area": height * width}
            image = {"image_id": number, "width": width, "height": height, "file_name": f"{number}.jpg"}
            labels = json.dumps({"image": image, "annotations": [annotation]}).encode()
            for name, data in ((f"{number}.jpg", one.jpeg), (f"{number}.json", labels)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def exported(args, shard, count, side, scaled, fit):
    """The images of a shard, as arrays of height x width x 3."""
    out = shard.with_suffix(".safetensors")
    command = [args.maskstream, "export", shard, "--force", "-o", out, "--image-size", side, "--scaled-decode", scaled]
    command += ["--fit", fit, "--batch-size", count, "--mask-size", 0, "--min-predicted-iou", "none", "--top-k", 1]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{shard}: {done.stderr}")
    batch = load_file(out)
    images = dict(zip(batch["image_ids"].tolist(), batch["images"]))
    assert len(images) == count and batch["image_valid"].all()
    return [images[number].transpose(1, 2, 0) for number in range(count)]


# What it should be


def content_size(size, side, fit):
    if fit == "stretch":
        return side, side
    return tuple(max(1, (2 * length * side + max(size)) // (2 * max(size))) for length in size)


def resized(image, size, content):
    """`size` is what the image covers, of which its last pixels may stand out."""
    return np.asarray(image.resize(content, Image.BILINEAR, box=(0, 0, *size)))


def scale_of(size, content):
    """k of 1 / 2^k: the smallest scale that is at least the target."""
    return next((k for k in (3, 2, 1) if all(a >= b << k for a, b in zip(size, content))), 0)


def scaled(jpeg, shift):
    """libjpeg-turbo's image at 1 / 2^shift."""
    image = Image.open(io.BytesIO(jpeg))
    size = image.size
    image.draft(image.mode, tuple(side >> shift for side in size))
    assert image.size == tuple(-(-side // 2**shift) for side in size)
    return image.convert("RGB")


def psnr(ours, theirs):
    error = np.mean((ours.astype(float) - theirs) ** 2)
    return 99.0 if error == 0 else min(99.0, 10 * np.log10(255**2 / error))


def largest(ours, theirs):
    return int(np.abs(ours.astype(int) - theirs).max())


class Figures:
    """The results of each sampling and check."""

    def __init__(self):
        self.files = collections.Counter()
        self.levels = collections.defaultdict(list)
        self.decibels = collections.defaultdict(list)
        self.failed = []

    def add(self, row, check, one, how, ours, theirs):
        where = f"{one.name}, {how}"
        decibels = psnr(ours, theirs)
        self.decibels[row, check].append((decibels, where))
        is_small = ours.shape[0] * ours.shape[1] < ENOUGH_PIXELS
        bound = PROGRESSIVE if row == "progressive" else BOUNDS.get(check, 0)
        if decibels < bound and not (is_small and largest(ours, theirs) <= 1):
            self.failed.append(f"{row}, {check}: {decibels:.1f} dB, less than {bound}: {where}")
        if check == "own size" and row != "progressive" and largest(ours, theirs) > 0:
            self.failed.append(f"{row}, {check}: {largest(ours, theirs)} levels: {where}")
        if check == "own size":
            self.levels[row].append(largest(ours, theirs))


def check_shard(args, shard, made, figures):
    sizes, rows, full = [], [], []
    for one in made:
        image = Image.open(io.BytesIO(one.jpeg))
        sizes.append(image.size)
        full.append(image.convert("RGB"))
        rows.append("progressive" if one.form == "progressive" else one.sampling)
        figures.files[rows[-1]] += 1
    pack(made, shard)
    longest = max(sizes[0])
    assert all(max(size) == longest for size in sizes)

    def each(side, decode, fit):
        images = exported(args, shard, len(made), side, decode, fit)
        for number, image in enumerate(images):
            content = content_size(sizes[number], side, fit)
            yield number, content, image[: content[1], : content[0]], f"{decode} at {side}"

    for number, _, ours, how in each(longest, "full", "letterbox"):
        figures.add(rows[number], "own size", made[number], how, ours, np.asarray(full[number]))
    for fit, parts in (("letterbox", PARTS), ("stretch", [0.37])):
        for side in sorted({max(1, round(part * longest)) for part in parts} - {longest}):
            for number, content, ours, how in each(side, "full", fit):
                theirs = resized(full[number], sizes[number], content)
                figures.add(rows[number], "resized", made[number], how, ours, theirs)
    for side in sorted({max(1, int(part * longest)) for part in SCALED_PARTS} - {longest}):
        for number, content, ours, how in each(side, "auto", "letterbox"):
            size, one = sizes[number], made[number]
            shift = scale_of(size, content)
            whole = resized(full[number], size, content)
            if shift == 0 or one.form == "progressive":
                # Progressive ones are decoded at full size.
                figures.add(rows[number], "resized", one, how, ours, whole)
                continue
            covered = tuple(side / 2**shift for side in size)
            theirs = resized(scaled(one.jpeg, shift), covered, content)
            figures.add(rows[number], "scaled", one, f"{how}, 1/{2**shift}", ours, theirs)
            figures.add(rows[number], "in all", one, how, ours, whole)


def report(figures):
    """Prints the table."""
    checks = ["own size", "resized", "scaled", "in all"]
    print(f"{'':22}{'largest':>8}" + "".join(f"{check:>12}" for check in checks))
    print(f"{'':12}{'files':>10}{'levels':>8}" + f"{'min':>6}{'med.':>6}" * len(checks))
    for row in [*SAMPLINGS, "progressive"]:
        line = f"{row:12}{figures.files[row]:10}{max(figures.levels[row]):8}"
        for check in checks:
            found = sorted(figures.decibels[row, check])
            if not found:
                line += f"{'-':>6}{'-':>6}"
                continue
            line += f"{found[0][0]:6.1f}{statistics.median(value for value, _ in found):6.1f}"
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maskstream", default="maskstream", metavar="FILE", help="the command [maskstream]")
    parser.add_argument("--photos", metavar="DIR", help="also take the photos of this folder")
    parser.add_argument("--keep", metavar="DIR", help="write the JPEGs to this folder as well")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng, figures = np.random.default_rng(args.seed), Figures()
    groups = [generated(rng)] + ([photographed(rng, args.photos)] if args.photos else [])
    with tempfile.TemporaryDirectory() as folder:
        for number, made in enumerate(made for group in groups for made in group):
            if args.keep:
                for one in made:
                    pathlib.Path(args.keep, one.name).write_bytes(one.jpeg)
            check_shard(args, pathlib.Path(folder, f"{number}.tar"), made, figures)
    print(f"{sum(figures.files.values())} JPEGs, {sum(map(len, figures.decibels.values()))} comparisons; PSNR in dB")
    report(figures)
    for line in figures.failed[:20]:
        print(f"FAILED {line}")
    if len(figures.failed) > 20:
        print(f"FAILED {len(figures.failed) - 20} more")
    return int(bool(figures.failed))


if __name__ == "__main__":
    sys.exit(main())
