"""The copies of shards that other loaders need, in the bucket `peers`, and the tables of offsets that they can use."""

import gzip
import io
import os
import tarfile
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import boto3
import indexed_gzip
from botocore.config import Config

BUCKET = "peers"


def is_gzip(shard):
    with open(shard, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def samples(shard):
    """(stem, image, annotations) of each sample of a shard, as bytes."""
    halves = {}
    with tarfile.open(shard) as tar:
        for member in tar:
            if member.isfile():
                stem, suffix = os.path.splitext(os.path.basename(member.name))
                halves.setdefault(stem, {})[suffix] = tar.extractfile(member).read()
                if len(halves[stem]) == 2:
                    both = halves.pop(stem)
                    yield stem, both[".jpg"], both[".json"]


def digests(shards):
    """How often each sample occurs, by the checksums of its two members."""
    return Counter((zlib.crc32(image), zlib.crc32(text)) for shard in shards for _, image, text in samples(shard))


def name(shard):
    return os.path.basename(shard)


class Copies:
    """Makes copies, and notes how long that took and how large they are."""

    def __init__(self, url, shards, folder):
        self.shards, self.folder, self.made = shards, folder, {}
        config = Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required")
        self.s3 = boto3.client("s3", endpoint_url=url, config=config)
        self.s3.create_bucket(Bucket=BUCKET)

    def make(self, kind):
        started = time.monotonic()
        size = getattr(self, kind)()
        self.made[kind] = {"seconds": time.monotonic() - started, "bytes": size}

    def put(self, objects):
        def put(key, data):
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)
            return len(data)

        # Several at a time, because each waits for its answer.
        with ThreadPoolExecutor(16) as pool:
            return sum(pool.map(put, *zip(*objects)))

    def pairs(self):
        """Plain tars in which the members of a sample are neighbours: WebDataset's format."""

        def paired(shard):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as tar:
                for stem, image, text in samples(shard):
                    for suffix, data in ((".jpg", image), (".json", text)):
                        info = tarfile.TarInfo(stem + suffix)
                        info.size = len(data)
                        tar.addfile(info, io.BytesIO(data))
            return buffer.getvalue()

        return self.put([(f"pairs/{name(shard)}", paired(shard)) for shard in self.shards])

    def files(self):
        """Each member as an object of its own."""
        return self.put(
            [
                (f"files/{name(shard)}/{stem}{suffix}", data)
                for shard in self.shards
                for stem, image, text in samples(shard)
                for suffix, data in ((".jpg", image), (".json", text))
            ]
        )

    def plain(self):
        """Shards without gzip: offsets in what it packs are of no use to a range request."""
        return self.put([(f"plain/{name(shard)}", gzip.open(shard).read()) for shard in self.shards])

    def seek_points(self):
        """Indexes of indexed_gzip: places where its inflater can start."""
        indexes = [os.path.join(self.folder, name(shard) + ".gzidx") for shard in self.shards]
        for shard, index in zip(self.shards, indexes):
            with indexed_gzip.IndexedGzipFile(shard, spacing=1 << 20) as file:
                file.build_full_index()
                file.export_index(index)
        return sum(map(os.path.getsize, indexes))

    def table(self):
        """(bucket, key, image offset, its size, annotations offset, their size) of each sample, in the plain tars."""
        rows = []
        for shard in self.shards:
            place = (BUCKET, f"plain/{name(shard)}") if is_gzip(shard) else ("b", name(shard))
            halves = {}
            with tarfile.open(shard) as tar:
                for member in filter(tarfile.TarInfo.isfile, tar):
                    stem, suffix = os.path.splitext(member.name)
                    halves.setdefault(stem, {})[suffix] = (member.offset_data, member.size)
            rows += [(*place, *both[".jpg"], *both[".json"]) for both in halves.values() if len(both) == 2]
        return rows
