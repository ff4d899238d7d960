#!/usr/bin/env bash
# obstore 0.12.1 lists the object `shards/` as `shards`, and reading that path gives another object, or none. It shares
# this with the Rust crate object_store, which it wraps.
#
# S3 consoles make a "folder" by an empty object whose key ends in a slash. Paths of object_store do not keep a slash
# at the end, so the marker comes back under a name that is not its own. `get` and `head` of that name then ask for
# `shards`: a 404 if there is no such object, and its bytes if there is. The marker itself cannot be read:
# `get("shards/")` asks for `shards` as well. Its size in the list, 0, is not the size of what is read.
#
# A prefix is whole segments, moreover: `list(prefix="shards/sa_")` is empty, without an error, where s3fs finds
# `shards/sa_0.tar`.
#
# Why it matters: a job that takes what a prefix lists has a shard too many, or none. Skip objects of size 0, filter
# names by their ends, and treat an empty list as an error.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q obstore==0.12.1 s3fs==2026.9.0 fsspec==2026.9.0 aiobotocore==3.10.0 boto3==1.43.117 \
    moto==5.2.5 flask==3.1.3 flask-cors==6.0.5
cat >"$dir/expected" <<'TEXT'
keys in the bucket: ['shards', 'shards/', 'shards/sa_0.tar']
obstore lists under shards/: [('shards', 0), ('shards/sa_0.tar', 6)]
get of what is listed with 0 bytes: 12 bytes, of another object
get of shards/: 12 bytes, of another object
head of it without that object: FileNotFoundError
obstore lists under shards/sa_: []
s3fs finds shards/sa_*: ['bucket/shards/sa_0.tar']
TEXT
"$dir/venv/bin/python" - >"$dir/output" <<'PYTHON'
import logging

import boto3
import obstore
import s3fs
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
place = {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"}
client = boto3.client("s3", aws_access_key_id="key", aws_secret_access_key="secret", **place)
client.create_bucket(Bucket="bucket")
for key, data in {"shards": b"not a folder", "shards/": b"", "shards/sa_0.tar": b"sample"}.items():
    client.put_object(Bucket="bucket", Key=key, Body=data)
print(f"keys in the bucket: {[item['Key'] for item in client.list_objects_v2(Bucket='bucket')['Contents']]}")
store = S3Store(
    "bucket",
    endpoint=f"http://{host}:{port}",
    client_options={"allow_http": True},
    region="us-east-1",
    access_key_id="key",
    secret_access_key="secret",
)
listed = [(item["path"], item["size"]) for item in obstore.list(store, "shards/").collect()]
print(f"obstore lists under shards/: {listed}")
read = bytes(obstore.get(store, listed[0][0]).bytes())
assert read == b"not a folder"
print(f"get of what is listed with {listed[0][1]} bytes: {len(read)} bytes, of another object")
read = bytes(obstore.get(store, "shards/").bytes())
assert read == b"not a folder"
print(f"get of shards/: {len(read)} bytes, of another object")
client.delete_object(Bucket="bucket", Key="shards")
try:
    obstore.head(store, listed[0][0])
except FileNotFoundError as error:
    print(f"head of it without that object: {type(error).__name__}")
print(f"obstore lists under shards/sa_: {[item['path'] for item in obstore.list(store, 'shards/sa_').collect()]}")
files = s3fs.S3FileSystem(key="key", secret="secret", client_kwargs=place)
print(f"s3fs finds shards/sa_*: {files.glob('bucket/shards/sa_*')}")
server.stop()
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
