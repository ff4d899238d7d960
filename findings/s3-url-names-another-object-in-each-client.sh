#!/usr/bin/env bash
# The same s3:// URL is one object in pyarrow 26.0.1 and obstore 0.12.1, and another in s3fs 2026.9.0 and smart_open
# 9.0.2.
#
# The first two read the URL as RFC 3986 says: `%20` is a blank, `%2F` a slash, and what follows `#` is no part of the
# path. The others take all that follows the bucket as the key. If both objects exist, each reads without an error:
# what one program has checked is not what the other trains on. Of a list with `c#0.tar`, `c#1.tar` and so on, pyarrow
# and obstore read `c` each time.
#
# Why it matters: lists of shards are files of such URLs, and go from one program to the next. Keep the names of shards
# to letters, digits, `-`, `_`, `.` and `/`, for which all agree.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q obstore==0.12.1 pyarrow==26.0.1 s3fs==2026.9.0 fsspec==2026.9.0 aiobotocore==3.10.0 \
    boto3==1.43.117 'smart_open[s3]==9.0.2' moto==5.2.5 flask==3.1.3 flask-cors==6.0.5
cat >"$dir/expected" <<'TEXT'
s3://shards/a%200.tar
  pyarrow: [a 0.tar]
  obstore: [a 0.tar]
  s3fs: [a%200.tar]
  smart_open: [a%200.tar]
s3://shards/b%2F0.tar
  pyarrow: [b/0.tar]
  obstore: [b/0.tar]
  s3fs: [b%2F0.tar]
  smart_open: [b%2F0.tar]
s3://shards/c#0.tar
  pyarrow: [c]
  obstore: [c]
  s3fs: [c#0.tar]
  smart_open: [c#0.tar]
TEXT
"$dir/venv/bin/python" - >"$dir/output" <<'PYTHON'
import logging

import boto3
import obstore
import pyarrow.fs
import s3fs
import smart_open
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
place = {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"}
client = boto3.client("s3", aws_access_key_id="key", aws_secret_access_key="secret", **place)
client.create_bucket(Bucket="shards")
for key in ["a 0.tar", "a%200.tar", "b/0.tar", "b%2F0.tar", "c", "c#0.tar"]:
    client.put_object(Bucket="shards", Key=key, Body=f"[{key}]".encode())


def of_obstore(url):
    store = S3Store.from_url(
        url,
        endpoint=f"http://{host}:{port}",
        client_options={"allow_http": True},
        region="us-east-1",
        access_key_id="key",
        secret_access_key="secret",
    )
    return bytes(obstore.get(store, "").bytes())


def of_pyarrow(url):
    path, mark, rest = url.partition("#")
    place = f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    files, path = pyarrow.fs.FileSystem.from_uri(path.replace("s3://", "s3://key:secret@") + place + mark + rest)
    return files.open_input_stream(path).read()


def of_s3fs(url):
    return s3fs.S3FileSystem(key="key", secret="secret", client_kwargs=place).cat_file(url)


def of_smart_open(url):
    return smart_open.open(url, "rb", transport_params={"client": client}).read()


for url in ["s3://shards/a%200.tar", "s3://shards/b%2F0.tar", "s3://shards/c#0.tar"]:
    print(url)
    for read in [of_pyarrow, of_obstore, of_s3fs, of_smart_open]:
        print(f"  {read.__name__.removeprefix('of_')}: {read(url).decode()}")
server.stop()
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
