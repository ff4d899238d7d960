#!/usr/bin/env bash
# fsspec 2026.9.0, HTTP: `cat_file` and `cat_ranges` give the whole object for a range if the server ignores ranges,
# and a ReferenceFileSystem on top gives other bytes than its references name, all without an error.
#
# A server may ignore Range and answer 200 with the whole object (RFC 9110, 14.2). `python -m http.server` does so, and
# so do stores that decompress an object on the way. fsspec does not look at the status. Only files from `open` raise
# an error. A ReferenceFileSystem merges near references into one range and cuts the answer as if it were that range:
# `cat` of several names gives the object from another place on for each. `info` says the right size meanwhile.
#
# Why it matters: references are the usual way to read members of a tar in place. A change of the server, or a proxy
# before it, turns each sample into a whole shard. Compare lengths with those of the references.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q fsspec==2026.9.0 aiohttp==3.14.5
cat >"$dir/expected" <<'TEXT'
cat_file: 100000 bytes for 1000
cat_ranges: [100000, 100000] bytes for [1000, 2000]
open: ValueError
references, one by one: [100000, 100000] bytes for [1000, 2000]
references, together: [97536, 98536] bytes for [1000, 2000]
a reference's first bytes are the right ones: False
TEXT
"$dir/venv/bin/python" - "$dir" >"$dir/output" <<'PYTHON'
import functools
import http.server
import random
import sys
import threading

import fsspec


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args):
        """A client that has what it wants closes its connection: that is no error."""


shard = random.Random(0).randbytes(100_000)
open(f"{sys.argv[1]}/0.tar", "wb").write(shard)
server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=sys.argv[1]))
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}/0.tar"
web = fsspec.filesystem("http")
print(f"cat_file: {len(web.cat_file(url, start=1536, end=2536))} bytes for 1000")
parts = web.cat_ranges([url, url], [1536, 3000], [2536, 5000])
print(f"cat_ranges: {[len(part) for part in parts]} bytes for [1000, 2000]")
try:
    with web.open(url) as file:
        file.seek(1536)
        file.read(1000)
except ValueError as error:
    print(f"open: {type(error).__name__}")
references = {"0.jpg": [url, 1536, 1000], "1.jpg": [url, 3000, 2000]}
members = fsspec.filesystem("reference", fo=references, remote_protocol="http")
alone = [members.cat_file(name) for name in references]
print(f"references, one by one: {[len(data) for data in alone]} bytes for [1000, 2000]")
together = members.cat(list(references))
print(f"references, together: {[len(data) for data in together.values()]} bytes for [1000, 2000]")
print(f"a reference's first bytes are the right ones: {together['0.jpg'][:1000] == shard[1536:2536]}")
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
