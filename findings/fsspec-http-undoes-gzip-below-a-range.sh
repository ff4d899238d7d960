#!/usr/bin/env bash
# fsspec 2026.9.0 over HTTP gives more bytes than a range has if the object carries `Content-Encoding: gzip`: it counts
# in compressed bytes and answers in inflated ones.
#
# A range is one of the representation, which is the gzip stream here (RFC 9110, 8.4 and 14.2), but aiohttp inflates
# what comes. So a range from 0 is the start of the text and about four times as long as asked for; a range from
# elsewhere cannot be inflated and raises an error; `size` is None, so that files cannot seek; `get_file` stores other
# bytes than the server has. s3fs 2026.9.0, boto3 1.43.117, smart_open 9.0.2 over HTTP and obstore 0.12.1 give the
# stored bytes, and so does fsspec with `client_kwargs={"auto_decompress": False}`.
#
# Why it matters: `gsutil cp -Z`, and web servers that know the ending .tgz, label shards in this way. An index of the
# gzip stream works with one client and not with the other, and checksums of the downloads differ.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q obstore==0.12.1 fsspec==2026.9.0 aiohttp==3.14.5 s3fs==2026.9.0 aiobotocore==3.10.0 \
    boto3==1.43.117 'smart_open[http]==9.0.2'
cat >"$dir/expected" <<'TEXT'
ranges of 1000 bytes from 0 and from 1000:
  fsspec http: more than 1000 inflated bytes, ClientPayloadError
  fsspec http, auto_decompress=False: 1000 stored bytes, 1000 stored bytes
  smart_open http: 1000 stored bytes, 1000 stored bytes
  s3fs: 1000 stored bytes, 1000 stored bytes
  boto3: 1000 stored bytes, 1000 stored bytes
  obstore: 1000 stored bytes, 1000 stored bytes
fsspec http, size: None
fsspec http, get_file: the inflated text: True
TEXT
"$dir/venv/bin/python" - "$dir/copy" >"$dir/output" <<'PYTHON'
import gzip
import http.server
import sys
import threading

import boto3
import fsspec
import obstore
import s3fs
import smart_open
from obstore.store import S3Store

TEXT = b"".join(b"%07d\n" % number for number in range(100_000))
STORED = gzip.compress(TEXT, 6, mtime=0)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ranges of the gzip stream, which is what is stored."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        first, last = 0, len(STORED) - 1
        if asked := self.headers.get("Range"):
            start, end = asked.removeprefix("bytes=").split("-")
            first, last = int(start), min(int(end or last), last)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(STORED)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"a"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(STORED[first : last + 1])

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args):
        """A client that has what it wants closes its connection: that is no error."""


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
endpoint = f"http://127.0.0.1:{server.server_address[1]}"
url = f"{endpoint}/shards/0.tar"
place = {"endpoint_url": endpoint, "region_name": "us-east-1"}
keys = {"access_key_id": "key", "secret_access_key": "secret"}
store = S3Store("shards", endpoint=endpoint, client_options={"allow_http": True}, region="us-east-1", **keys)
client = boto3.client("s3", aws_access_key_id="key", aws_secret_access_key="secret", **place)
s3 = s3fs.S3FileSystem(key="key", secret="secret", client_kwargs=place)
web = fsspec.filesystem("http")
plain = fsspec.filesystem("http", client_kwargs={"auto_decompress": False})


def of_smart_open(start, end):
    with smart_open.open(url, "rb") as file:
        file.seek(start)
        return file.read(end - start)


def of_boto3(start, end):
    return client.get_object(Bucket="shards", Key="0.tar", Range=f"bytes={start}-{end - 1}")["Body"].read()


def said(data, start):
    kind = "stored" if data == STORED[start : start + len(data)] else "inflated" if TEXT.startswith(data) else "other"
    return f"{'1000' if len(data) == 1000 else 'more than 1000'} {kind} bytes"


print("ranges of 1000 bytes from 0 and from 1000:")
for name, read in {
    "fsspec http": lambda start, end: web.cat_file(url, start=start, end=end),
    "fsspec http, auto_decompress=False": lambda start, end: plain.cat_file(url, start=start, end=end),
    "smart_open http": of_smart_open,
    "s3fs": lambda start, end: s3.cat_file("shards/0.tar", start=start, end=end),
    "boto3": of_boto3,
    "obstore": lambda start, end: bytes(obstore.get_range(store, "0.tar", start=start, end=end)),
}.items():
    results = []
    for start in [0, 1000]:
        try:
            results.append(said(read(start, start + 1000), start))
        except Exception as error:
            results.append(type(error).__name__)
    print(f"  {name}: {results[0]}, {results[1]}")
print(f"fsspec http, size: {web.info(url)['size']}")
web.get_file(url, sys.argv[1])
print(f"fsspec http, get_file: the inflated text: {open(sys.argv[1], 'rb').read() == TEXT}")
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
