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
    # `with` alone leaves the members in memory until the archive is closed; that is fine for test shards.
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
    """Makes copies on demand, once each, and notes how long that took and how large they are."""

    def __init__(self, url, shards, folder):
        self.shards, self.folder, self.made = shards, folder, {}
        config = Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required")
        self.s3 = boto3.client("s3", endpoint_url=url, config=config)
        self.s3.create_bucket(Bucket=BUCKET)

    def need(self, kind):
        if kind and kind not in self.made:
            started = time.monotonic()
            sent = getattr(self, kind)()
            self.made[kind] = {"seconds": time.monotonic() - started, "bytes": sent}

    def put(self, objects):
        # Few at a time, because the server makes each wait for its answer.
        with ThreadPoolExecutor(16) as pool:
            sizes = pool.map(lambda one: (self.s3.put_object(Bucket=BUCKET, Key=one[0], Body=one[1]), len(one[1]))[1], objects)
            return sum(sizes)

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
        """Shards without gzip, unless they have none: offsets in a gzip stream are of no use to a range request."""
        return self.put([(f"plain/{name(shard)}", gzip.open(shard).read()) for shard in self.shards if is_gzip(shard)])

    def seek_points(self):
        """Indexes of indexed_gzip: places where its inflater can start."""
        for shard in self.shards:
            with indexed_gzip.IndexedGzipFile(shard, spacing=1 << 20) as file:
                file.build_full_index()
                file.export_index(os.path.join(self.folder, name(shard) + ".gzidx"))
        return 0

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
