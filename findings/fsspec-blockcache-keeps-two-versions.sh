#!/usr/bin/env bash
# fsspec 2026.9.0, HTTP: a `blockcache` keeps blocks of two versions of an object in one file, and gives them as one
# object in each later run, without an error, and with `check_files=True` as well.
#
# A run reads two blocks. The server then gets another version of the same size, with another ETag and another
# Last-Modified. The next run reads the first version for those two blocks (and their neighbours, which were read
# ahead), and the second for all others, and stores them side by side. `check_files=True` is there to notice a change,
# but the HTTP file system tells versions apart by the URL alone. `filecache` gives the first version, whole, as long
# as it is kept: a week by default.
#
# Why it matters: the cache outlives the job, and the mixture is what each run reads from then on. Write new versions
# under new names, or clear the cache by hand.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q fsspec==2026.9.0 aiohttp==3.14.5
cat >"$dir/expected" <<'TEXT'
blockcache: 4000 bytes of the old version, 96000 of the new one
blockcache, with the new version again: 4000 bytes of the old version, 96000 of the new one
filecache: 100000 bytes of the old version, 0 of the new one
TEXT
cat >"$dir/run.py" <<'PYTHON'
"""One run of a job: reads some blocks, or all, through a cache, and tells of which versions they are."""

import sys

import fsspec

_, protocol, cache, url, what = sys.argv
files = fsspec.filesystem(protocol, target_protocol="http", cache_storage=cache, check_files=True)
data = b""
with files.open(url, block_size=1000) as file:
    for at in [0, 50_000] if what == "some" else range(0, 100_000, 1000):
        file.seek(at)
        data += file.read(1000)
if what == "all":
    print(f"{data.count(b'o')} bytes of the old version, {data.count(b'n')} of the new one")
PYTHON
"$dir/venv/bin/python" - "$dir" >"$dir/output" <<'PYTHON'
import http.server
import subprocess
import sys
import threading

SIZE = 100_000
version = "old"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves SIZE bytes of the letter that the version begins with."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        first, last = 0, SIZE - 1
        if asked := self.headers.get("Range"):
            start, end = asked.removeprefix("bytes=").split("-")
            first, last = int(start), min(int(end or last), last)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{SIZE}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{version}"')
        day = {"old": "Mon, 01 Jan 2024", "new": "Wed, 01 Jan 2025"}[version]
        self.send_header("Last-Modified", f"{day} 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(version[:1].encode() * (last + 1 - first))

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args):
        """A client that has what it wants closes its connection: that is no error."""


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}/0.tar"


def run(protocol, what):
    command = [sys.executable, f"{sys.argv[1]}/run.py", protocol, f"{sys.argv[1]}/{protocol}", url, what]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


for protocol in ["blockcache", "filecache"]:
    version = "old"
    run(protocol, "some")
    version = "new"
    print(f"{protocol}: {run(protocol, 'all')}")
    if protocol == "blockcache":
        print(f"{protocol}, with the new version again: {run(protocol, 'all')}")
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
