#!/usr/bin/env bash
# A server may send less of a range than was asked, and say so. s3fs 2026.9.0, fsspec 2026.9.0 over HTTP and boto3
# 1.43.117 then give less data without an error, and s3fs gives zeros for what is missing within a large object.
#
# A 206 answer may satisfy a range only in part, for reasons of the server such as its cache or its load: its
# Content-Range says which part it is, and the client asks for the rest (RFC 9110, 15.3.7). smart_open 9.0.2 asks for
# the rest. obstore 0.12.1 refuses the answer with an error. The others do not read Content-Range.
#
# Why it matters: a range that an index names is one image, and its end is missing. Nothing but its length tells.
# Compare each length with what was asked for, and ask for the rest.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q obstore==0.12.1 fsspec==2026.9.0 aiohttp==3.14.5 s3fs==2026.9.0 aiobotocore==3.10.0 \
    boto3==1.43.117 'smart_open[http,s3]==9.0.2'
cat >"$dir/expected" <<'TEXT'
3000000 bytes from 2000000, of which the server sends 1000000
  boto3 get_object: 1000000, right so far
  s3fs cat_file: 1000000, right so far
  s3fs open: 1000000, right so far
  fsspec http cat_file: 1000000, right so far
  fsspec http open: 1000000, right so far
  smart_open s3: 3000000, right so far
  smart_open http: 3000000, right so far
  obstore get_range: GenericError
s3fs cat_file of all 8000000 bytes: 8000000 bytes, 6000000 of them zeros that the object has not
TEXT
"$dir/venv/bin/python" - >"$dir/output" <<'PYTHON'
import http.server
import random
import threading

import boto3
import fsspec
import obstore
import s3fs
import smart_open
from obstore.store import S3Store

SHARD = random.Random(0).randbytes(8_000_000)
MOST = 1_000_000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves at most MOST bytes of a range, and names them in Content-Range."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        first, last = 0, len(SHARD) - 1
        if asked := self.headers.get("Range"):
            start, end = asked.removeprefix("bytes=").split("-")
            first, last = int(start), min(int(end or last), int(start) + MOST - 1, last)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(SHARD)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"a"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(SHARD[first : last + 1])

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args):
        """A client that seeks closes its connection: that is no error."""


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
endpoint = f"http://127.0.0.1:{server.server_address[1]}"
url = f"{endpoint}/shards/0.tar"
keys = {"access_key_id": "key", "secret_access_key": "secret"}
store = S3Store("shards", endpoint=endpoint, client_options={"allow_http": True}, region="us-east-1", **keys)
place = {"endpoint_url": endpoint, "region_name": "us-east-1"}
client = boto3.client("s3", aws_access_key_id="key", aws_secret_access_key="secret", **place)
web = fsspec.filesystem("http")
s3 = s3fs.S3FileSystem(key="key", secret="secret", client_kwargs=place, default_block_size=5 << 20)
START, END = 2_000_000, 5_000_000


def read(file, length):
    file.seek(START)
    return file.read(length)


def of_boto3():
    return client.get_object(Bucket="shards", Key="0.tar", Range=f"bytes={START}-{END - 1}")["Body"].read()


part = {
    "boto3 get_object": of_boto3,
    "s3fs cat_file": lambda: s3.cat_file("shards/0.tar", start=START, end=END),
    "s3fs open": lambda: read(s3.open("shards/0.tar"), END - START),
    "fsspec http cat_file": lambda: web.cat_file(url, start=START, end=END),
    "fsspec http open": lambda: read(web.open(url), END - START),
    "smart_open s3": lambda: read(
        smart_open.open("s3://shards/0.tar", "rb", transport_params={"client": client}), END - START
    ),
    "smart_open http": lambda: read(smart_open.open(url, "rb"), END - START),
    "obstore get_range": lambda: bytes(obstore.get_range(store, "0.tar", start=START, end=END)),
}
print(f"{END - START} bytes from {START}, of which the server sends {MOST}")
for name, take in part.items():
    try:
        data = take()
        print(f"  {name}: {len(data)}, {'right so far' if SHARD[START:].startswith(data) else 'wrong'}")
    except Exception as error:
        print(f"  {name}: {type(error).__name__}")
data = s3.cat_file("shards/0.tar")
zeros = sum(not any(data[at : at + 64]) for at in range(0, len(data), 64)) * 64
print(f"s3fs cat_file of all {len(SHARD)} bytes: {len(data)} bytes, {zeros} of them zeros that the object has not")
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
