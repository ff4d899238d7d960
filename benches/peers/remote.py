#!/usr/bin/env python3
"""Compares `maskstream bench` with other stacks that read the same shards from an object store: over HTTP, from a
server on this machine with the latency and the bandwidth of a network.

    pip install -r benches/peers/requirements-remote.txt
    cargo build --release --features remote,synth --bins --examples
    maskstream synth full --shards 6 --samples 60 && maskstream index full
    python3 benches/peers/remote.py full/*.tar --serve target/release/examples/serve

Images, masks, boxes and sizes are those of `loader.py`, as are the two ways to decode, *usual* and *tuned*. With
`--no-decode`, each reader only gets the bytes of each sample: decoding takes so long on few cores that it hides the
network. Two shards are enough without it; with it, give several.

Not all can read the shards as they are. The copies that they need are made first and are not timed, nor are imports,
lists of files and indexes. Each reads all samples a few times, of which the last counts; rounds are interleaved, and
their medians are shown. Before that, each must have got each sample once with the right bytes.

SERVE is started as `SERVE FOLDER --first-byte-ms N --per-connection N --total N`. It offers the files of the folder in
the bucket `b`, over S3 with path-style addresses, prints its URL, and answers each line on its standard input with
`sent N bytes in M requests` since it began, until the input ends.
"""

import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from remote_copies import Copies, digests, is_gzip
from remote_readers import Task, measure

# Name, reader, the copy that it needs, how it works on samples: with `--no-decode`, those that have `bytes`.
PEERS = [
    ("webdataset", "webdataset", "pairs", ("bytes", "tuned")),
    ("webdataset, usual", "webdataset", "pairs", ("usual",)),
    ("litdata raw", "litdata", "files", ("bytes", "tuned")),
    ("spdl + obstore", "spdl_obstore", "plain", ("bytes", "tuned")),
    ("spdl + s3fs", "spdl_s3fs", "plain", ("bytes",)),
    ("spdl + indexed_gzip", "spdl_indexed_gzip", "seek_points", ("bytes", "tuned")),
]
COPIES = {
    "pairs": "plain tars with the members of each sample side by side",
    "files": "an object for each member",
    "plain": "the shards without gzip",
    "seek_points": "an index of indexed_gzip for each shard",
}


class Server:
    """A server that counts what it sends; or one that runs already, whose bytes are those of the loopback interface."""

    def __init__(self, args):
        self.process, self.url = None, args.server_url
        if args.serve:
            speed = [f"--first-byte-ms={args.first_byte_ms}", f"--per-connection={args.per_connection}"]
            command = [args.serve, os.path.dirname(args.shards[0]) or ".", *speed, f"--total={args.total}"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self.process = subprocess.Popen(command, text=True, **pipes)
            self.url = self.process.stdout.readline().strip()
            if not self.url:
                raise SystemExit(f"{args.serve} did not print its URL")

    def sent(self):
        if not self.process:
            with open("/proc/net/dev") as file:
                return int(re.search(r"^\s*lo:\s*(\d+)", file.read(), re.M)[1]), 0
        print(file=self.process.stdin, flush=True)
        return tuple(map(int, re.match(r"sent (\d+) bytes in (\d+) requests", self.process.stdout.readline()).groups()))

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait(10)


def ours(command):
    """The figures of a program that prints a line of JSON for each pass, as `maskstream bench` does."""
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    passes = [json.loads(line) for line in lines]
    return {
        "samples": passes[-1]["samples"],
        "passes": len(passes),
        "rate": passes[-1]["samples_per_second"],
        "first_seconds": passes[0].get("first_batch_seconds", 0),
        "cpu_seconds": passes[-1].get("process_cpu_ms", 0) * passes[-1]["samples"] / 1e3,
    }


def in_process(reader, task):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return {"passes": task.passes} | pool.submit(measure, reader, task).result()


def counted(server, run):
    before = server.sent()
    figures = run()
    sent, requests = (after - then for after, then in zip(server.sent(), before))
    # Each pass has the same bytes.
    samples = max(1, figures["samples"] * figures["passes"])
    cpu_per_gb = figures["cpu_seconds"] / max(1, sent / figures["passes"]) * 1e9
    return figures | {"sent": sent / samples, "requests": requests / samples, "cpu_per_gb": cpu_per_gb}


def ours_command(args):
    if args.no_decode:
        return shlex.split(args.ours_raw) if args.ours_raw else None
    shards = [f"s3://b/{os.path.basename(shard)}" for shard in args.shards]
    sizes = ["--image-size=1024", "--mask-size=256", "--top-k=10"]
    return [args.maskstream, "bench", *shards, "--shuffle", "--json", f"--epochs={args.passes}", *sizes]


def check(peers, task, expected):
    """Those peers that get each sample once, with its bytes. Tells what the others do."""
    whole, sound = sum(expected.values()), []
    for peer in peers:
        try:
            found = in_process(peer[1], task)["digests"]
        except Exception as error:
            print(f"left out: {peer[0]}: {error}")
            continue
        right = sum((found & expected).values())
        if right == whole == sum(found.values()):
            sound.append(peer)
        else:
            print(f"left out: {peer[0]}: {right} of {whole} samples right, {sum(found.values()) - right} wrong")
    return sound


def report(medians, found, args):
    best = max((row["rate"] for name, row in medians.items() if name != "maskstream"), default=1)
    print(f"{'':20} {'reads':12} {'samples/s':>9} {'of best':>8} {'MB':>6} {'CPU s/GB':>8} {'first ms':>9}")
    for name, row in sorted(medians.items(), key=lambda item: -item[1]["rate"]):
        first = f"{1e3 * row['first_seconds']:9.0f}"
        numbers = f"{row['rate']:9.1f} {row['rate'] / best:7.2f}x {row['sent'] / 1e6:6.2f} {row['cpu_per_gb']:8.2f}"
        print(f"{name:20} {row['reads']:12} {numbers} {first}")
    per_sample = sum(map(os.path.getsize, args.shards)) / found["samples"] / 1e6
    print(f"MB: sent by the server per sample, which has {per_sample:.2f} MB in its shard.")
    print("CPU: of the reader alone. first: until the first sample; of maskstream, the first batch.")
    print("of best: samples/s over those of the best other stack.")
    for kind, copy in found["copies"].items():
        print(f"{kind}: {COPIES[kind]}, {copy['bytes'] / 1e6:.0f} MB made in {copy['seconds']:.1f} s")
    if "as_shipped" in found:
        print("webdataset, shards as shipped: {samples} whole samples, {parts} parts".format(**found["as_shipped"]))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", nargs="+", help="in one folder, which the server offers with all that is in it")
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--serve", help="the server to start")
    server.add_argument("--server-url", help="a server that runs, with the same shards in the bucket b")
    parser.add_argument("--first-byte-ms", type=int, default=30)
    parser.add_argument("--per-connection", default="90MB", help="bytes per second")
    parser.add_argument("--total", default="1250MB", help="bytes per second of all connections")
    parser.add_argument("--maskstream", default="target/release/maskstream", help="the program to compare with")
    parser.add_argument("--no-decode", action="store_true", help="only get the bytes")
    parser.add_argument("--ours-raw", metavar="COMMAND", help="with --no-decode: prints JSON as `bench` does")
    parser.add_argument("--rounds", type=int, help="[default: 2, or 3 with --no-decode]")
    parser.add_argument("--passes", type=int, default=2, help="over all samples in a round, of which the last counts")
    parser.add_argument("--processes", type=int, help="of WebDataset and LitData [default: one a shard, at most 8]")
    parser.add_argument("--requests", type=int, default=128, help="at once, of the peers that read samples at random")
    parser.add_argument("--peers", help="only these, by the first letters of their names, separated by commas")
    parser.add_argument("--json", action="store_true", help="print the medians as JSON instead")
    args = parser.parse_args()
    args.rounds = args.rounds or (3 if args.no_decode else 2)
    args.processes = args.processes or min(8, len(args.shards))
    return args


def chosen(args):
    """The peers of this run, each with its one way to work."""
    has_gzip = is_gzip(args.shards[0])
    for name, reader, copy, ways in PEERS:
        way = [way for way in ways if (way == "bytes") == args.no_decode]
        if way and (has_gzip or copy != "seek_points") and name.startswith(tuple((args.peers or "").split(","))):
            yield name, reader, copy if has_gzip or copy != "plain" else None, way[0]


def rounds(args, server, folder):
    copies, peers = Copies(server.url, args.shards, folder), list(chosen(args))
    for kind in {peer[2]: None for peer in peers if peer[2]}:
        copies.make(kind)
    settings = (server.url, args.shards, copies.table(), folder)

    def task(stack, passes):
        return Task(*settings, stack, args.processes, args.requests, passes)

    expected = digests(args.shards)
    found = {"samples": sum(expected.values()), "rounds": {}}
    if any(reader == "webdataset" for _, reader, _, _ in peers):
        # Meta's shards are not WebDataset's: the members of a sample are far apart.
        seen = in_process("webdataset_as_shipped", task("check", 1))
        found["as_shipped"] = {"samples": seen["samples"], "parts": seen["parts"]}
    peers, command = check(peers, task("check", 1), expected), ours_command(args)

    def add(name, reads, run):
        figures = counted(server, run)
        if figures["samples"] != found["samples"]:
            raise SystemExit(f"{name}: {figures['samples']} of {found['samples']} samples")
        found["rounds"].setdefault(name, []).append(figures | {"reads": reads})

    for _ in range(args.rounds):
        if command:
            add("maskstream", "as shipped", lambda: ours(command))
        for name, reader, copy, way in peers:
            reads = "as shipped" if copy in ("seek_points", None) else f"copy: {copy}"
            add(name, reads, lambda: in_process(reader, task(way, args.passes)))
    return found | {"copies": copies.made}


def main():
    args = parse()
    server = Server(args)
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_ALLOW_HTTP": "true"}
    regions = dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), "us-east-1")
    os.environ.update(keys, **regions, AWS_ENDPOINT_URL=server.url)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = rounds(args, server, folder)
        finally:
            server.close()
    numbers = ("rate", "first_seconds", "cpu_per_gb", "sent", "requests")
    medians = {
        name: {"reads": rows[0]["reads"]} | {key: statistics.median(row[key] for row in rows) for key in numbers}
        for name, rows in found.pop("rounds").items()
    }
    if args.json:
        print(json.dumps({"decode": not args.no_decode, "readers": medians} | found, indent=2))
    else:
        report(medians, found, args)


if __name__ == "__main__":
    main()
