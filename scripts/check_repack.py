"""Compares a repacked shard, member by member, with what Python's tarfile reads from its source shard.

    maskstream repack sa1b/sa_000000.tar -o flat
    python3 scripts/check_repack.py sa1b/sa_000000.tar flat/sa_000000.tar

Needs only Python 3.8 or later. Ends with a non-zero exit code if anything differs.
"""

import hashlib
import sys
import tarfile


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


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, repacked = map(members, sys.argv[1:])
    names = list(repacked)
    missing = [name for name in source if name not in repacked]
    added = [name for name in names if name not in source]
    differing = [name for name in names if name in source and source[name] != repacked[name]]
    apart = [
        image
        for image, json in zip(names[::2], names[1::2])
        if not image.endswith((".jpg", ".jpeg")) or image.rsplit(".", 1)[0] != json.rsplit(".", 1)[0]
    ]
    print(f"{len(source)} members in {sys.argv[1]}, {len(names)} in {sys.argv[2]}")
    for what, found in [("missing", missing), ("added", added), ("differ", differing), ("pairs apart", apart)]:
        print(f"  {what}: {len(found)} {found[:3] if found else ''}")
    sys.exit(1 if missing or added or differing or apart else 0)


if __name__ == "__main__":
    main()
