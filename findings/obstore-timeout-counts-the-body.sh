#!/usr/bin/env bash
# obstore 0.12.1 ends a download that is slow but never stops: its `timeout`, 30 s by default, is for a whole request
# with its body, and its retries are counted for the whole object, however much of it has come.
#
# A server sends 10 MB at a steady 200 kB/s, with no pause above 0.1 s. Without retries, the default ends it after 30
# s. With retries, each request goes on where the one before was cut, and the object still fails once `max_retries` or
# `retry_timeout` (10 and 180 s by default) is used up: here with a timeout of 1 s and 3 retries, after 4 s and 0.8 MB.
# With the defaults, an object must come within 180 s and 11 requests: 11 GB need 61 MB/s.
#
# Why it matters: a shard of many GB is read to its end by one `get` on a good day, and fails for good when the network
# is busy. Ask for ranges of some MB, or set a longer `timeout`.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q obstore==0.12.1
cat >"$dir/expected" <<'TEXT'
default timeout, no retries: TimedOut after 30 s, 1 request
timeout of 1 s, 3 retries: TimedOut after 4 s, 4 requests
timeout of 120 s, no retries: 10000000 bytes after 50 s, 1 request
TEXT
"$dir/venv/bin/python" - >"$dir/output" <<'PYTHON'
import collections
import http.server
import threading
import time

import obstore
from obstore.exceptions import GenericError
from obstore.store import HTTPStore

SIZE = 10_000_000
requests = collections.Counter()


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends 20,000 bytes each tenth of a second."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        requests[self.path] += 1
        first = 0
        if asked := self.headers.get("Range"):
            first = int(asked.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{SIZE - 1}/{SIZE}")
        self.send_header("Content-Length", str(SIZE - first))
        self.send_header("ETag", '"a"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        start = time.monotonic()
        for number, at in enumerate(range(first, SIZE, 20_000)):
            time.sleep(max(0, start + number / 10 - time.monotonic()))
            self.wfile.write(bytes(min(20_000, SIZE - at)))

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args):
        """The client closes the connection when its time is up."""


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
lines = {}


def download(name, client_options, retries):
    store = HTTPStore.from_url(
        f"http://127.0.0.1:{server.server_address[1]}/{len(client_options)}{retries}",
        client_options={"allow_http": True, **client_options},
        retry_config={"max_retries": retries},
    )
    start = time.monotonic()
    try:
        end = f"{len(obstore.get(store, name).bytes())} bytes"
    except GenericError as error:
        end = "TimedOut" if "TimedOut" in str(error) else str(error)
    count = sum(number for path, number in requests.items() if path.endswith(f"/{name}"))
    lines[name] = (end, time.monotonic() - start, count)


cases = {"a": ({}, 0), "b": ({"timeout": "1s"}, 3), "c": ({"timeout": "120s"}, 0)}
threads = [threading.Thread(target=download, args=(name, *case)) for name, case in cases.items()]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
titles = ["default timeout, no retries", "timeout of 1 s, 3 retries", "timeout of 120 s, no retries"]
# Retries wait for a random time, a second in all.
for title, name, expected, spread in zip(titles, cases, [30, 4, 50], [2, 2, 5]):
    end, seconds, count = lines[name]
    taken = expected if abs(seconds - expected) <= spread else round(seconds, 1)
    print(f"{title}: {end} after {taken} s, {count} request{'s' * (count > 1)}")
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
