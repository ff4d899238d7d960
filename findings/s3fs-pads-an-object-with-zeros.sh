#!/usr/bin/env bash
# s3fs 2026.9.0 (fsspec 2026.9.0): `cat_file` of an object of several blocks has as many bytes as the last list said.
# If the object was replaced since, it is cut, or its end is zeros, without an error.
#
# For an object that is larger than a block (50 MiB by default), `cat_file` and `cat` take the size from a list that
# the process made earlier, allocate that many zeros, and fetch the blocks in parallel into them. The lengths and the
# ETags of the answers are not compared: blocks that came short leave zeros. Objects of one block are read whole and
# right, and `open` raises an error. Here a block is 5 MiB, by `default_block_size`, so that the objects are small.
#
# Why it matters: zeros are the end of the archive to tar, and a shard that is cut between two files looks complete to
# Python's tarfile. Call `invalidate_cache()` before a shard is read that another job may have written again.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q s3fs==2026.9.0 fsspec==2026.9.0 aiobotocore==3.10.0 boto3==1.43.117 \
    moto==5.2.5 flask==3.1.3 flask-cors==6.0.5
cat >"$dir/expected" <<'TEXT'
block of a file system by default: 52428800
listed with 8000000 bytes
replaced by 7000000 bytes: read 8000000, of which 1000000 zeros at the end
replaced by 9000000 bytes: read 8000000, of which 0 zeros at the end
after invalidate_cache: read 9000000, of which 0 zeros at the end
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
print(f"block of a file system by default: {s3fs.S3FileSystem(anon=True).default_block_size}")
files = s3fs.S3FileSystem(key="key", secret="secret", client_kwargs=place, default_block_size=5 << 20)
client.put_object(Bucket="shards", Key="0.tar", Body=b"a" * 8_000_000)
print(f"listed with {files.ls('shards', detail=True)[0]['size']} bytes")


def read():
    data = files.cat_file("shards/0.tar")
    return f"read {len(data)}, of which {len(data) - len(data.rstrip(bytes(1)))} zeros at the end"


client.put_object(Bucket="shards", Key="0.tar", Body=b"b" * 7_000_000)
print(f"replaced by 7000000 bytes: {read()}")
client.put_object(Bucket="shards", Key="0.tar", Body=b"c" * 9_000_000)
print(f"replaced by 9000000 bytes: {read()}")
files.invalidate_cache()
print(f"after invalidate_cache: {read()}")
server.stop()
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
