#!/usr/bin/env bash
# Python's tarfile in stream mode reads the first member of a gzip file only, and so does WebDataset 1.0.2: of a shard
# with 100 samples it yields one, without an error.
#
# A gzip file may be several members one after the other (RFC 1952, 2.2). Whoever wants samples that can be read alone
# begins a member for each, as is usual in WARC files. `tarfile.open(mode="r:gz")` and `gzip -dc | tar t` read all. The
# modes "r|gz" and "r|*" stop after the first one, and a tar that stops between two files looks complete to them. (If
# the gzip member ends within the data of a file, they raise a ReadError.)
#
# Why it matters: WebDataset opens each shard with "r|*", local or remote. Each epoch is then as short as the number of
# shards. Pipe such shards through `gzip -dc`, and compare the number of samples with that of `tar t`.
#
# Output seen with Python 3.10 to 3.13: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q webdataset==1.0.2 numpy==2.2.6 braceexpand==0.1.7 pyyaml==6.0.3
cat >"$dir/expected" <<'TEXT'
tar t of the shard: 100
tarfile r:gz: 100
tarfile r|gz: 1
tarfile r|*: 1
webdataset: 1
webdataset, pipe: 100
TEXT
"$dir/venv/bin/python" - "$dir/0.tar" <<'PYTHON'
import gzip
import io
import sys
import tarfile

tar = io.BytesIO()
with tarfile.open(fileobj=tar, mode="w") as archive:
    for number in range(100):
        member = tarfile.TarInfo(f"{number}.cls")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"%04d" % number))
data = tar.getvalue()
with tarfile.open(fileobj=io.BytesIO(data)) as archive:
    offsets = [member.offset for member in archive]
with open(sys.argv[1], "wb") as shard:
    for start, end in zip(offsets, [*offsets[1:], len(data)]):
        shard.write(gzip.compress(data[start:end]))
PYTHON
{
    echo "tar t of the shard: $(gzip -dc <"$dir/0.tar" | tar t | wc -l)"
    "$dir/venv/bin/python" -W ignore - "$dir/0.tar" <<'PYTHON'
import sys
import tarfile

import webdataset

for mode in ["r:gz", "r|gz", "r|*"]:
    with open(sys.argv[1], "rb") as file, tarfile.open(fileobj=file, mode=mode) as archive:
        print(f"tarfile {mode}: {sum(1 for _ in archive)}")
for name, url in {"webdataset": sys.argv[1], "webdataset, pipe": f"pipe:gzip -dc <{sys.argv[1]}"}.items():
    print(f"{name}: {sum(1 for _ in webdataset.WebDataset(url, shardshuffle=False))}")
PYTHON
} >"$dir/output"
cat "$dir/output"
diff "$dir/expected" "$dir/output"
