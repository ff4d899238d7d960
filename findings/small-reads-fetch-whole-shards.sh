#!/usr/bin/env bash
# Twenty reads of 5,000 bytes from a shard of 20 MB fetch 17 to 96 MB: in obstore 0.12.1, s3fs 2026.9.0 and fsspec
# 2026.9.0 over HTTP, by their defaults.
#
# `get_ranges` of obstore merges ranges that are less than 1 MiB apart, and fetches what is between them: reads that
# are 895 kB apart become one request for nearly the whole shard. `open_reader` fetches 1 MiB for each read. Files of
# fsspec (5 MiB) and s3fs (50 MiB) read ahead from each place that they have not just fetched: a shuffled order fetches
# the shard several times. `cat_ranges` of both, `get_ranges(coalesce=0)`, and pyarrow 26.0.1 fetch just what is read.
#
# Why it matters: samples in random order are such reads, and the network carries 170 to 960 times what is used. Count
# the bytes that a client receives.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q obstore==0.12.1 fsspec==2026.9.0 aiohttp==3.14.5 s3fs==2026.9.0 aiobotocore==3.10.0 \
    pyarrow==26.0.1
cat >"$dir/expected" <<'TEXT'
obstore get_ranges: 1 request, 17105000 bytes for 100000
obstore get_ranges, coalesce=0: 20 requests, 100000 bytes for 100000
obstore open_reader: 20 requests, 20971520 bytes for 100000
s3fs cat_ranges: 20 requests, 100000 bytes for 100000
s3fs open: 2 requests, 30998000 bytes for 100000
fsspec http cat_ranges: 20 requests, 100000 bytes for 100000
fsspec http open: 18 requests, 95971560 bytes for 100000
pyarrow open_input_file: 20 requests, 100000 bytes for 100000
TEXT
"$dir/venv/bin/python" - >"$dir/output" <<'PYTHON'
import http.server
import random
import threading

import fsspec
import obstore
import pyarrow.fs
import s3fs
from obstore.store import S3Store

SHARD = random.Random(0).randbytes(20_000_000)
LENGTH = 5000
asked_for = []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        first, last = 0, len(SHARD) - 1
        if asked := self.headers.get("Range"):
            start, end = asked.removeprefix("bytes=").split("-")
            first, last = int(start), min(int(end or last), last)
        if self.command == "GET":
            asked_for.append(last + 1 - first)
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
        """A client that has what it wants closes its connection: that is no error."""


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
endpoint = f"http://127.0.0.1:{server.server_address[1]}"
url = f"{endpoint}/shards/0.tar"
keys = {"access_key_id": "key", "secret_access_key": "secret"}
store = S3Store("shards", endpoint=endpoint, client_options={"allow_http": True}, region="us-east-1", **keys)
s3 = s3fs.S3FileSystem(key="key", secret="secret", client_kwargs={"endpoint_url": endpoint, "region_name": "us-east-1"})
web = fsspec.filesystem("http")
arrow = pyarrow.fs.S3FileSystem(access_key="key", secret_key="secret", endpoint_override=endpoint, region="us-east-1")
# Each sample has its own 900 kB of the shard; they are read in another order.
starts = [number * 900_000 + 1000 for number in range(20)]
random.Random(0).shuffle(starts)
ends = [start + LENGTH for start in starts]


def one_by_one(file):
    parts = []
    for start in starts:
        file.seek(start)
        parts.append(bytes(file.read(LENGTH)))
    return parts


for name, read in {
    "obstore get_ranges": lambda: obstore.get_ranges(store, "0.tar", starts=starts, ends=ends),
    "obstore get_ranges, coalesce=0": lambda: obstore.get_ranges(store, "0.tar", starts=starts, ends=ends, coalesce=0),
    "obstore open_reader": lambda: one_by_one(obstore.open_reader(store, "0.tar")),
    "s3fs cat_ranges": lambda: s3.cat_ranges(["shards/0.tar"] * 20, starts, ends),
    "s3fs open": lambda: one_by_one(s3.open("shards/0.tar")),
    "fsspec http cat_ranges": lambda: web.cat_ranges([url] * 20, starts, ends),
    "fsspec http open": lambda: one_by_one(web.open(url)),
    "pyarrow open_input_file": lambda: one_by_one(arrow.open_input_file("shards/0.tar")),
}.items():
    asked_for.clear()
    assert [bytes(part) for part in read()] == [SHARD[start:end] for start, end in zip(starts, ends)]
    count = len(asked_for)
    print(f"{name}: {count} request{'s' * (count > 1)}, {sum(asked_for)} bytes for {20 * LENGTH}")
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
