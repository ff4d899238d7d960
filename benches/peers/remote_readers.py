"""How other stacks read shards from an object store.

Each reader opens its data set and returns a function that gives, for a pass, what `Task.work` makes of each sample.
Modules are imported and lists are loaded before the clock starts.
"""

import asyncio
import io
import os
import queue
import random
import tempfile
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass

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
    passes: int = 1
    seed: int = 0

    @property
    def names(self):
        return [os.path.basename(shard) for shard in self.shards]

    def work(self, image, text):
        """Makes a sample and drops it where it was made, so that no reader pays for moving it between processes."""
        if self.stack == "bytes":
            return len(image) + len(text)
        if self.stack == "check":
            return zlib.crc32(image), zlib.crc32(text)
        import loader

        {"usual": loader.usual, "tuned": loader.tuned}[self.stack](image, text)
        return 0

    def shuffled(self, number):
        return random.Random(self.seed + number).sample(self.table, len(self.table))

    def in_processes(self, dataset, **options):
        from torch.utils.data import DataLoader

        several = {"num_workers": self.processes, "persistent_workers": True, "multiprocessing_context": "fork"}
        return DataLoader(dataset, **several, **options)


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
    samples = task.in_processes(dataset, batch_size=None, collate_fn=same)
    return lambda number: samples


def webdataset_as_shipped(task):
    return webdataset(task, "b")


def litdata(task):
    """A data set of single files, listed once; each process gets the files of a batch together."""
    import fsspec
    import litdata.streaming.downloader
    from litdata import StreamingRawDataset

    # Without this, it refuses http:// endpoints, whatever the environment says.
    litdata.streaming.downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True

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
    # Its list comes from s3fs, whose event loop does not survive the fork.
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    # As many samples at once as make the requests of all processes.
    batch = max(1, task.requests // (2 * task.processes))
    batches = task.in_processes(dataset, batch_size=batch, shuffle=True, collate_fn=list)
    return lambda number: (sample for batch in batches for sample in batch)


def spdl(task, read, threads):
    """Samples in random order: `read` gets the bytes of one, many at once; as many as there are cores are decoded."""
    from spdl.pipeline import PipelineBuilder

    cores = os.cpu_count()

    def one_pass(number):
        builder = PipelineBuilder().add_source(task.shuffled(number)).pipe(read, concurrency=task.requests // 2)
        builder = builder.pipe(lambda pair: task.work(*pair), concurrency=cores).add_sink(16)
        # Without `max_failures`, it goes on without the samples that failed.
        pipeline = builder.build(num_threads=threads + cores, max_failures=0)
        with pipeline.auto_stop():
            yield from pipeline.get_iterator()

    return one_pass


def spdl_obstore(task):
    """Range requests of obstore, which are asynchronous: the two members of a sample at once."""
    import obstore
    from obstore.store import S3Store

    options = {"endpoint": task.url, "client_options": {"allow_http": True}}
    stores = {bucket: S3Store(bucket, **options) for bucket in ("b", "peers")}

    async def read(row):
        bucket, key, *ranges = row
        parts = zip(ranges[::2], ranges[1::2])
        gets = [obstore.get_range_async(stores[bucket], key, start=start, length=length) for start, length in parts]
        return [memoryview(part) for part in await asyncio.gather(*gets)]

    return spdl(task, read, 0)


def spdl_s3fs(task):
    """Range requests of fsspec and s3fs, in the event loop of the pipeline."""
    import s3fs

    # One for each event loop, made in it.
    local = threading.local()

    async def read(row):
        if not hasattr(local, "fs"):
            options = {"skip_instance_cache": True, "config_kwargs": {"max_pool_connections": task.requests}}
            local.fs = s3fs.S3FileSystem(asynchronous=True, endpoint_url=task.url, **options)
        bucket, key, *ranges = row
        parts = zip(ranges[::2], ranges[1::2])
        gets = [local.fs._cat_file(f"{bucket}/{key}", start=start, end=start + length) for start, length in parts]
        return await asyncio.gather(*gets)

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
    # Files that are not in use: each has one position and one lock, and reading its index takes a while.
    idle = {name: queue.LifoQueue() for name in task.names}

    def opened(name):
        try:
            return idle[name].get_nowait()
        except queue.Empty:
            source, index = Ranges(store, name, sizes[name]), os.path.join(task.folder, name + ".gzidx")
            # The buffer is what a read fetches at once.
            return indexed_gzip._IndexedGzipFile(fileobj=source, index_file=index, readbuf_size=256 << 10)

    def read(row):
        _, key, *ranges = row
        name = os.path.basename(key)
        file, parts = opened(name), []
        for start, length in zip(ranges[::2], ranges[1::2]):
            file.seek(start)
            parts.append(file.read(length))
        idle[name].put(file)
        return parts

    return spdl(task, read, task.requests // 2)


def cpu():
    """CPU seconds of this process, of those that it has started, and of those that they have waited for."""
    ticks, parents = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(pid)], ticks[int(pid)] = int(fields[1]), sum(map(int, fields[11:15]))
    family = {os.getpid()}
    # Children may have lower numbers than their parents.
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks[pid] for pid in family) / os.sysconf("SC_CLK_TCK")


def measure(reader, task):
    """Reads all samples, some times; the last pass counts. Runs in a process of its own."""
    log = os.path.join(task.folder, "stderr")
    with open(log, "w") as file:
        os.dup2(file.fileno(), 2)
    if task.stack in ("usual", "tuned"):
        # Takes a while; `loader` uses it.
        import cv2
        import loader  # noqa: F401

        cv2.setNumThreads(1)
    try:
        return passes(globals()[reader](task), task)
    except Exception as error:
        with open(log, errors="replace") as file:
            print(*file.readlines()[-20:], sep="", end="")
        # Some exceptions of peers cannot be sent to another process.
        raise RuntimeError(f"{reader}: {type(error).__name__}: {error}") from None


def passes(one_pass, task):
    first = None
    for number in range(task.passes):
        before, started, found = cpu(), time.monotonic(), []
        for result in one_pass(number):
            first = first or time.monotonic() - started
            found.append(result)
        seconds = time.monotonic() - started
    whole = [result for result in found if result != PART]
    return {
        "samples": len(whole),
        "parts": len(found) - len(whole),
        "rate": len(whole) / seconds,
        "first_seconds": first,
        "cpu_seconds": cpu() - before,
        "digests": Counter(whole) if task.stack == "check" else None,
    }
