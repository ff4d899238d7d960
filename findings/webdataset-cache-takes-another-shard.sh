#!/usr/bin/env bash
# WebDataset 1.0.2 with `cache_dir` yields the samples of one shard for another: the cache knows a shard by the last
# part of its URL only.
#
# train/0.tar is read through the cache. val/0.tar then comes from the same cached file, although `__url__` of its
# samples says val/0.tar. The query is no part of the name either (`0.tar?versionId=2`), and a shard that was replaced
# is never fetched again. No request is sent, and there is no error.
#
# Why it matters: shards of several splits, sources or epochs are mostly called 000000.tar and so on. Validation then
# runs on training data and looks good. Give each prefix its own `cache_dir`.
#
# Output seen: the lines in `expected` below. Exits with 1 if it differs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q webdataset==1.0.2 numpy==2.2.6 braceexpand==0.1.7 pyyaml==6.0.3
mkdir "$dir/cache"
cat >"$dir/expected" <<'TEXT'
train/0.tar: sample of train
val/0.tar: sample of train
val/0.tar?versionId=2: sample of train
val/0.tar without cache_dir: sample of val
requests: train/0.tar val/0.tar
TEXT
"$dir/venv/bin/python" -W ignore - "$dir/cache" >"$dir/output" <<'PYTHON'
import http.server
import io
import sys
import tarfile
import threading

import webdataset

requests = []


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a shard with one sample, whose text is the first part of the path."""

    def do_GET(self):
        requests.append(self.path[1:])
        text = self.path.split("/")[1].encode()
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            member = tarfile.TarInfo("0.txt")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
        self.send_response(200)
        self.send_header("Content-Length", str(len(tar.getvalue())))
        self.end_headers()
        self.wfile.write(tar.getvalue())

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()


def text(path, **options):
    url = f"http://127.0.0.1:{server.server_address[1]}/{path}"
    (sample,) = webdataset.WebDataset(url, shardshuffle=False, **options)
    assert sample["__url__"] == url
    return sample["txt"].decode()


for path in ["train/0.tar", "val/0.tar", "val/0.tar?versionId=2"]:
    print(f"{path}: sample of {text(path, cache_dir=sys.argv[1])}")
print(f"val/0.tar without cache_dir: sample of {text('val/0.tar')}")
print("requests:", *requests)
PYTHON
cat "$dir/output"
diff "$dir/expected" "$dir/output"
