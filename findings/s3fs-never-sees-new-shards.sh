#!/usr/bin/env bash
# s3fs 2026.9.0 (fsspec 2026.9.0) lists a bucket as it was when the process listed it first: `glob` finds no new shard,
# and `exists` and `cat_file` say that it is not there.
#
# Lists are kept for good, and a new `S3FileSystem` with the same arguments is the same object with the same lists. A
# shard that was removed is still found and exists. Even `cat_file` asks the list before it asks the store: it raises
# FileNotFoundError without a request, while a range of the same object, `cat_file(path, start=0, end=3)`, is read.
# `invalidate_cache()` or `use_listings_cache=False` helps.
#
# Why it matters: a job that runs for weeks and looks for shards before each epoch trains on those of its first day.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q s3fs==2026.9.0 fsspec==2026.9.0 aiobotocore==3.10.0 boto3==1.43.117 \
    moto==5.2.5 flask==3.1.3 flask-cors==6.0.5
cat >"$dir/expected" <<'TEXT'
glob at first: ['shards/day/0.tar', 'shards/day/1.tar']
in the bucket now: ['day/0.tar', 'day/2.tar']
glob now: ['shards/day/0.tar', 'shards/day/1.tar']
exists: 1.tar True, 2.tar False
cat_file of 2.tar: FileNotFoundError
cat_file of a range of 2.tar: b'new'
glob after invalidate_cache: ['shards/day/0.tar', 'shards/day/2.tar']
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


def files():
    return s3fs.S3FileSystem(key="key", secret="secret", client_kwargs=place)


for number in range(2):
    client.put_object(Bucket="shards", Key=f"day/{number}.tar", Body=b"old")
print(f"glob at first: {files().glob('shards/day/*.tar')}")
client.delete_object(Bucket="shards", Key="day/1.tar")
client.put_object(Bucket="shards", Key="day/2.tar", Body=b"new")
print(f"in the bucket now: {[item['Key'] for item in client.list_objects_v2(Bucket='shards')['Contents']]}")
print(f"glob now: {files().glob('shards/day/*.tar')}")
print(f"exists: 1.tar {files().exists('shards/day/1.tar')}, 2.tar {files().exists('shards/day/2.tar')}")
try:
    files().cat_file("shards/day/2.tar")
except FileNotFoundError as error:
    print(f"cat_file of 2.tar: {type(error).__name__}")
print(f"cat_file of a range of 2.tar: {files().cat_file('shards/day/2.tar', start=0, end=3)}")
files().invalidate_cache()
print(f"glob after invalidate_cache: {files().glob('shards/day/*.tar')}")
server.stop()
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
