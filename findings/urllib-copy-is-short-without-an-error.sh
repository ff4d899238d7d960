#!/usr/bin/env bash
# Python's urllib.request copies half of an object without an error if the connection closes early: reading in pieces
# does not compare what came with Content-Length.
#
# An answer that ends before its Content-Length is incomplete (RFC 9112, 8), as when a server restarts or a proxy gives
# up. `read()` raises IncompleteRead. `read(65536)` in a loop, and so `shutil.copyfileobj`, sees an ordinary end of
# file. requests 2.34.2, read in pieces, raises an error for the same answer, and curl exits with 18.
#
# Why it matters: it is how a shard is downloaded, or opened for tarfile, with nothing but the standard library. The
# copy is short, and later runs find it complete. Compare its length with Content-Length.
#
# Output seen with Python 3.10 to 3.13: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q requests==2.34.2 urllib3==2.8.0
cat >"$dir/expected" <<'TEXT'
Content-Length: 1000000
urllib, read(): IncompleteRead
urllib, read(65536) in a loop: 500000 bytes
urllib, shutil.copyfileobj: 500000 bytes
requests, in pieces: ChunkedEncodingError
TEXT
"$dir/venv/bin/python" - >"$dir/output" <<'PYTHON'
import http.client
import http.server
import io
import shutil
import threading
import urllib.request

import requests


class Handler(http.server.BaseHTTPRequestHandler):
    """Promises 1,000,000 bytes, sends half of them and closes the connection."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(bytes(500_000))

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}/0.tar"
with urllib.request.urlopen(url) as answer:
    print(f"Content-Length: {answer.headers['Content-Length']}")
    try:
        answer.read()
    except http.client.IncompleteRead as error:
        print(f"urllib, read(): {type(error).__name__}")
with urllib.request.urlopen(url) as answer:
    length = sum(len(piece) for piece in iter(lambda: answer.read(65536), b""))
    print(f"urllib, read(65536) in a loop: {length} bytes")
copy = io.BytesIO()
with urllib.request.urlopen(url) as answer:
    shutil.copyfileobj(answer, copy)
print(f"urllib, shutil.copyfileobj: {copy.tell()} bytes")
try:
    for _ in requests.get(url, stream=True).iter_content(65536):
        pass
except requests.exceptions.RequestException as error:
    print(f"requests, in pieces: {type(error).__name__}")
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
