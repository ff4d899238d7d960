"""How other stacks read shards from an object store. Each reader opens its data set and returns an iterable of what
`Task.work` makes of each sample; modules are imported and lists are loaded before the clock starts.
"""

import asyncio
import io
import os
import random
import resource
import tempfile
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field

# Processes that decode share the cores; OpenCV's own threads would only disturb them.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# What a sample without one of its members counts as.
PART = "part"


def same(value):
    return value


@dataclass(frozen=True)
class Task:
    url: str
    shards: list
    table: list
    folder: str
    # What is done with a sample: `bytes`, `check`, `usual` or `tuned`.
    stack: str
    processes: int
    requests: int
    seed: int = 0
    names: list = field(default_factory=list)

    def work(self, image, text):
        """Makes a sample and drops it where it was made, so that no reader pays for moving it between processes."""
        if self.stack == "bytes":
            return len(image) + len(text)
        if self.stack == "check":
            return zlib.crc32(image), zlib.crc32(text)
        import cv2
        import loader

        cv2.setNumThreads(1)
        {"usual": loader.usual, "tuned": loader.tuned}[self.stack](image, text)
        return 0

    def shuffled(self):
        return random.Random(self.seed).sample(self.table, len(self.table))

    def in_processes(self, dataset, **options):
        from torch.utils.data import DataLoader

        return DataLoader(dataset, num_workers=self.processes, multiprocessing_context="fork", **options)


def webdataset(task, folder="peers/pairs"):
    """Whole shards, one after the other, through curl. The shards are shuffled, the samples in them are not: a buffer
    for that would only take time."""
    import webdataset as wds

    urls = [f"pipe:curl -s -f -L {task.url}/{folder}/{name}" for name in task.names]
    random.Random(task.seed).shuffle(urls)

    def made(sample):
        # A sample is what stands together in the shard: half of one if its other half is elsewhere.
        return task.work(sample["jpg"], sample["json"]) if "jpg" in sample and "json" in sample else PART

    dataset = wds.WebDataset(urls, shardshuffle=False, workersplitter=wds.split_by_worker, empty_check=False).map(made)
    return task.in_processes(dataset, batch_size=None, collate_fn=same)


def webdataset_as_shipped(task):
    return webdataset(task, "b")


def litdata(task):
    """A data set of single files, listed once; each process gets the files of a batch together."""
    from litdata import StreamingRawDataset

    class Samples(StreamingRawDataset):
        def setup(self, files):
            pairs = {}
            for file in files:
                if file.path.endswith((".jpg", ".json")):
                    pairs.setdefault(os.path.splitext(file.path)[0], []).append(file)
            return [sorted(pair, key=lambda file: file.path) for pair in pairs.values()]

    dataset = Samples(
        "s3://peers/files",
        cache_dir=tempfile.mkdtemp(dir=task.folder),
        storage_options={"endpoint_url": task.url},
        transform=lambda pair: task.work(*pair),
        recompute_index=True,
        max_prefetch=0,
        max_concurrent_downloads=task.requests,
    )
    # As many samples at once as make the requests of all processes.
    batch = max(1, task.requests // (2 * task.processes))
    batches = task.in_processes(dataset, batch_size=batch, shuffle=True, collate_fn=list)
    return (sample for batch in batches for sample in batch)


def spdl(task, read, threads):
    """Samples in random order: `read` gets the bytes of one, many at once; as many as there are cores are decoded."""
    from spdl.pipeline import PipelineBuilder

    cores = os.cpu_count()
    builder = PipelineBuilder().add_source(task.shuffled()).pipe(read, concurrency=task.requests // 2)
    pipeline = builder.pipe(lambda pair: task.work(*pair), concurrency=cores).add_sink(16)

    def made():
        built = pipeline.build(num_threads=threads + cores)
        with built.auto_stop():
            yield from built.get_iterator()

    return made()


def spdl_obstore(task):
    """Range requests of obstore, which are asynchronous: the two members of a sample at once."""
    import obstore
    from obstore.store import S3Store

    stores = {bucket: S3Store(bucket, endpoint=task.url, client_options={"allow_http": True}) for bucket in ("b", "peers")}

    async def read(row):
        bucket, key, *ranges = row
        parts = zip(ranges[::2], ranges[1::2])
        gets = [obstore.get_range_async(stores[bucket], key, start=start, length=length) for start, length in parts]
        return [bytes(part) for part in await asyncio.gather(*gets)]

    return spdl(task, read, 0)


def spdl_s3fs(task):
    """Range requests of fsspec and s3fs, in the event loop of the pipeline."""
    import s3fs

    # One for each event loop, made in it.
    local = threading.local()

    async def read(row):
        if not hasattr(local, "fs"):
            limits = {"max_pool_connections": task.requests}
            local.fs = s3fs.S3FileSystem(asynchronous=True, endpoint_url=task.url, config_kwargs=limits)
        bucket, key, *ranges = row
        parts = zip(ranges[::2], ranges[1::2])
        return await asyncio.gather(*(local.fs._cat_file(f"{bucket}/{key}", start=start, end=start + n) for start, n in parts))

    return spdl(task, read, 0)


class Ranges(io.RawIOBase):
    """An object as a seekable file: each read is a range request."""

    def __init__(self, store, key, size):
        self.store, self.key, self.size, self.at = store, key, size, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self.at

    def seek(self, offset, whence=io.SEEK_SET):
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def readinto(self, buffer):
        import obstore

        length = min(len(buffer), self.size - self.at)
        if length > 0:
            buffer[:length] = memoryview(obstore.get_range(self.store, self.key, start=self.at, length=length))
            self.at += length
        return max(0, length)


def spdl_indexed_gzip(task):
    """The gzip shards as they are: indexed_gzip inflates from a place near each member, in threads."""
    import indexed_gzip
    from obstore.store import S3Store

    store = S3Store("b", endpoint=task.url, client_options={"allow_http": True})
    sizes = {name: os.path.getsize(shard) for name, shard in zip(task.names, task.shards)}
    threads = task.requests // 2
    # A file for each thread: one has one position and one lock.
    local = threading.local()

    def opened(name):
        files = local.__dict__.setdefault("files", {})
        if name not in files:
            index = os.path.join(task.folder, name + ".gzidx")
            source = Ranges(store, name, sizes[name])
            # The buffer is what a read fetches at once.
            files[name] = indexed_gzip._IndexedGzipFile(fileobj=source, index_file=index, readbuf_size=256 << 10)
        return files[name]

    def read(row):
        _, key, *ranges = row
        file = opened(os.path.basename(key))
        parts = []
        for start, length in zip(ranges[::2], ranges[1::2]):
            file.seek(start)
            parts.append(file.read(length))
        return parts

    return spdl(task, read, threads)


def cpu():
    """CPU seconds of this process and of those that it has waited for."""
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(reader, task):
    """Reads all samples once. Runs in a process of its own."""
    made = globals()[reader](task)
    before, started = cpu(), time.monotonic()
    first, found = None, []
    for result in made:
        first = first or time.monotonic() - started
        found.append(result)
    seconds = time.monotonic() - started
    del made
    whole = [result for result in found if result != PART]
    figures = {"samples": len(whole), "parts": len(found) - len(whole), "seconds": seconds, "first_seconds": first}
    return figures | {"cpu_seconds": cpu() - before, "digests": Counter(whole) if task.stack == "check" else None}
