#!/usr/bin/env bash
# An object that is replaced while a file on it is open gives bytes of both versions, without an error: in obstore
# 0.12.1, in fsspec 2026.9.0 over HTTP, in smart_open 9.0.2 over S3, and in pyarrow 26.0.1 over S3.
#
# Each opens the object, reads its first bytes, and reads more after the server has another version of the same size.
# All have seen the first ETag, and the server honours If-Match (RFC 9110, 13.1.1), but these clients do not send it
# and do not compare the ETag of the next answer. s3fs 2026.9.0 sends If-Match, and smart_open sends it over HTTP: both
# raise an error.
#
# Why it matters: S3 has no open files: a shard that is written again under its name changes below each job that reads
# it. In a tar, a header of one version then names data of the other. Write new versions under new names, or pin the
# ETag of the first answer.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q obstore==0.12.1 fsspec==2026.9.0 aiohttp==3.14.5 s3fs==2026.9.0 aiobotocore==3.10.0 \
    boto3==1.43.117 'smart_open[http,s3]==9.0.2' pyarrow==26.0.1
cat >"$dir/expected" <<'TEXT'
obstore: first bytes old, others new
fsspec http: first bytes old, others new
smart_open s3: first bytes old, others new
pyarrow: first bytes old, others new
s3fs: OSError
smart_open http: HTTPError
TEXT
"$dir/venv/bin/python" - >"$dir/output" <<'PYTHON'
import http.server
import threading

import boto3
import fsspec
import obstore
import pyarrow.fs
import s3fs
import smart_open
from obstore.store import S3Store

SIZE = 20_000_000
version = b"old"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves SIZE bytes of the letter that the version begins with."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        etag = f'"{version.decode()}"'
        first, last = 0, SIZE - 1
        if self.headers.get("If-Match", etag) != etag:
            self.send_response(412)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if asked := self.headers.get("Range"):
            start, end = asked.removeprefix("bytes=").split("-")
            first, last = int(start), min(int(end or last), last)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{SIZE}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", etag)
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(version[:1] * (last + 1 - first))

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args):
        """A client that seeks closes its connection: that is no error."""


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"127.0.0.1:{server.server_address[1]}"
url = f"http://{address}/shards/0.tar"
keys = {"access_key_id": "key", "secret_access_key": "secret"}
store = S3Store("shards", endpoint=f"http://{address}", client_options={"allow_http": True}, region="us-east-1", **keys)
place = {"endpoint_url": f"http://{address}", "region_name": "us-east-1"}
client = boto3.client("s3", aws_access_key_id="key", aws_secret_access_key="secret", **place)
arrow = pyarrow.fs.S3FileSystem(
    access_key="key", secret_key="secret", endpoint_override=f"http://{address}", region="us-east-1"
)
s3 = s3fs.S3FileSystem(key="key", secret="secret", client_kwargs=place)
for name, opened in {
    "obstore": lambda: obstore.open_reader(store, "0.tar"),
    "fsspec http": lambda: fsspec.filesystem("http").open(url),
    "smart_open s3": lambda: smart_open.open("s3://shards/0.tar", "rb", transport_params={"client": client}),
    "pyarrow": lambda: arrow.open_input_file("shards/0.tar"),
    "s3fs": lambda: s3.open("shards/0.tar", block_size=5_000_000),
    "smart_open http": lambda: smart_open.open(url, "rb"),
}.items():
    try:
        version = b"old"
        file = opened()
        first = bytes(file.read(1000))
        version = b"new"
        file.seek(SIZE - 1000)
        other = bytes(file.read(1000))
        names = {b"o" * 1000: "old", b"n" * 1000: "new"}
        print(f"{name}: first bytes {names[first]}, others {names[other]}")
    except Exception as error:
        print(f"{name}: {type(error).__name__}")
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
