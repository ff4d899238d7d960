"""Compares a repacked shard, member by member, with what Python's tarfile reads from its source shard.

    maskstream repack sa1b/sa_000000.tar -o flat
    python3 scripts/check_repack.py sa1b/sa_000000.tar flat/sa_000000.tar

Needs only Python 3.8 or later. Ends with a non-zero exit code if anything differs.

A derived shard (`maskstream repack --longest-side N --quality Q`) may differ from its source in its images alone. With
--longest-side N, each of those must have the right size and say of itself what it is, and --images of them, spread
evenly, are compared with PIL's own resize of the originals: their PSNR must be at least --psnr decibels. Images that
are no larger than N must be the original bytes. Needs numpy and Pillow as well.

    maskstream repack sa1b/sa_000000.tar -o small --longest-side 1024
    python3 scripts/check_repack.py sa1b/sa_000000.tar small/sa_000000.tar --longest-side 1024
"""

import argparse
import hashlib
import io
import json
import re
import sys
import tarfile

# What a derived image says of itself.
COMMENT = r"maskstream derived \(lossy\): (\d+) x (\d+) from (\d+) x (\d+), quality (\d+), original crc32c ([0-9a-f]{8})"


def members(path):
    """The digest of each regular file by name, and the names in file order."""
    with open(path, "rb") as file:
        mode = "r:gz" if file.read(2) == b"\x1f\x8b" else "r:"
    digests = {}
    with tarfile.open(path, mode) as tar:
        for member in tar:
            if member.isfile():
                digests.setdefault(member.name, hashlib.sha256(tar.extractfile(member).read()).hexdigest())
    return digests


def files(path, wanted):
    """Yields each wanted member with its bytes, in file order."""
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isfile() and member.name in wanted:
                yield member.name, tar.extractfile(member).read()


def fitted(size, longest):
    """The size of a derived image: rounded to the nearest pixel, halves up."""
    return tuple(max(1, (2 * side * longest + max(size)) // (2 * max(size))) for side in size)


def claim_problem(image, size, longest):
    """What is wrong with the size of a derived image, or with what it says of itself."""
    if max(size) <= longest:
        return "its original is no larger, so it should be that"
    if image.size != fitted(size, longest):
        return f"it is {image.size}, but should be {fitted(size, longest)}"
    said = re.fullmatch(COMMENT, image.info.get("comment", b"").decode("ascii", "replace"))
    if not said or tuple(int(number) for number in said.groups()[:4]) != image.size + size:
        return f"its comment is {image.info.get('comment')}"
    return None


def psnr(original, derived):
    """That of a derived image against PIL's resize of the original."""
    import numpy
    from PIL import Image

    reference = original.convert("RGB").resize(derived.size, Image.BILINEAR)
    difference = numpy.asarray(reference, float) - numpy.asarray(derived.convert("RGB"), float)
    return 10 * numpy.log10(255**2 / max(numpy.mean(difference**2), 1e-9))


def check_derived(source, derived, names, args):
    """What is wrong with the derived images `names`. Prints the PSNR of some, spread evenly."""
    from PIL import Image

    stems = {name.rsplit(".", 1)[0] + ".json": name for name in names}
    sizes = {}
    for name, text in files(derived, stems):
        image = json.loads(text)["image"]
        sizes[stems[name]] = (image["width"], image["height"])
    compared = set(names[:: max(1, len(names) // args.images)][: args.images])
    originals, wrong, figures, shares = dict(files(source, compared)), [], [], []
    for name, data in files(derived, set(names)):
        image = Image.open(io.BytesIO(data))
        problem = claim_problem(image, sizes[name], args.longest_side)
        if not problem and name in compared:
            figures.append(psnr(Image.open(io.BytesIO(originals[name])), image))
            shares.append(len(data) / len(originals[name]))
            problem = f"its PSNR is {figures[-1]:.2f} dB" if figures[-1] < args.psnr else None
        wrong += [f"{name}: {problem}"] if problem else []
    print(f"  {len(names)} derived images")
    if figures:
        figures.sort()
        print(
            f"  {len(figures)} of them against PIL's resize of the originals: PSNR {figures[0]:.2f} to "
            f"{figures[-1]:.2f} dB, median {figures[len(figures) // 2]:.2f} dB; "
            f"{100 * sum(shares) / len(shares):.1f} % of the bytes"
        )
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("repacked")
    parser.add_argument("--longest-side", type=int, metavar="N", help="the shard is derived with this longest side")
    parser.add_argument("--psnr", type=float, default=35, metavar="DB", help="least PSNR of a derived image [35]")
    parser.add_argument("--images", type=int, default=256, metavar="N", help="images to compare with PIL's [256]")
    args = parser.parse_args()
    source, repacked = members(args.source), members(args.repacked)
    names = list(repacked)
    missing = [name for name in source if name not in repacked]
    added = [name for name in names if name not in source]
    differing = [name for name in names if name in source and source[name] != repacked[name]]
    apart = [
        image
        for image, text in zip(names[::2], names[1::2])
        if not image.endswith((".jpg", ".jpeg")) or image.rsplit(".", 1)[0] != text.rsplit(".", 1)[0]
    ]
    print(f"{len(source)} members in {args.source}, {len(names)} in {args.repacked}")
    wrong = []
    if args.longest_side:
        derived = [name for name in differing if name.endswith((".jpg", ".jpeg"))]
        differing = [name for name in differing if name not in derived]
        wrong = check_derived(args.source, args.repacked, derived, args)
    checks = [("missing", missing), ("added", added), ("differ", differing), ("pairs apart", apart)]
    checks += [("wrong images", wrong)] if args.longest_side else []
    for what, found in checks:
        print(f"  {what}: {len(found)} {found[:3] if found else ''}")
    sys.exit(1 if any(found for _, found in checks) else 0)


if __name__ == "__main__":
    main()
