#!/usr/bin/env bash
# s3fs 2026.9.0 (fsspec 2026.9.0) answers a request for no bytes with all bytes of the object, and without an error.
#
# `cat_file(path, start=5, end=5)` asks for `Range: bytes=5-4`, and start=0, end=0 for `bytes=0--1`. HTTP cannot ask
# for an empty range: both are invalid, and a server may ignore or reject an invalid Range (RFC 9110, 14.2). moto
# 5.2.5, which many test against, ignores it and sends the whole object, and s3fs does not look at the status.
# `cat_ranges` does the same, while `start=7, end=9` is right, and fsspec's HTTP file system sends no request for an
# empty range.
#
# Why it matters: an index of a shard has empty ranges where a member is empty, such as a caption that was left blank.
# Its data is then the whole shard. Leave empty ranges out before asking, and compare each length with what was asked.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q s3fs==2026.9.0 fsspec==2026.9.0 aiobotocore==3.10.0 boto3==1.43.117 \
    moto==5.2.5 flask==3.1.3 flask-cors==6.0.5
cat >"$dir/expected" <<'TEXT'
the object: 200 bytes
cat_file 0..0: 200 bytes
cat_file 5..5: 200 bytes
cat_file 7..9: 2 bytes
cat_ranges of the same three: [200, 200, 2] bytes
TEXT
"$dir/venv/bin/python" - >"$dir/output" <<'PYTHON'
import logging

import boto3
import s3fs
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
place = {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"}
client = boto3.client("s3", aws_access_key_id="key", aws_secret_access_key="secret", **place)
client.create_bucket(Bucket="shards")
client.put_object(Bucket="shards", Key="0.tar", Body=bytes(range(200)))
files = s3fs.S3FileSystem(key="key", secret="secret", client_kwargs=place)
print(f"the object: {files.size('shards/0.tar')} bytes")
ranges = [(0, 0), (5, 5), (7, 9)]
for start, end in ranges:
    print(f"cat_file {start}..{end}: {len(files.cat_file('shards/0.tar', start=start, end=end))} bytes")
starts, ends = zip(*ranges)
lengths = [len(part) for part in files.cat_ranges(["shards/0.tar"] * 3, list(starts), list(ends))]
print(f"cat_ranges of the same three: {lengths} bytes")
server.stop()
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
