#!/usr/bin/env python3
"""Compares `maskstream bench` with Python loaders on the same shards: the same images, masks, boxes and sizes.

    pip install -r benches/peers/requirements.txt
    maskstream synth full --shards 2 --samples 60 && maskstream index full
    python3 benches/peers/loader.py full/*.tar

*usual* is what people usually write: tarfile, json, PIL, pycocotools, OpenCV. *tuned* is the best stack of Python
packages that we know: orjson, simplejpeg at half size where that is enough, rlemasklib, OpenCV. Each runs in
`--workers` processes; a process handles a shard or a part of one, and drops each sample once it is made. Rounds are
interleaved, and their medians are shown. CPU time is that of all processes, per sample.
"""

import argparse
import io
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import tarfile
import time

import cv2
import numpy as np
import orjson
import rlemasklib
import simplejpeg
from PIL import Image
from pycocotools import mask as coco

SIDE, GRID, TOP_K, MIN_IOU = 1024, 256, 10, 0.88


def chosen(annotations):
    kept = [a for a in annotations if a["predicted_iou"] >= MIN_IOU]
    return sorted(kept, key=lambda a: (-a["stability_score"], -a["predicted_iou"], a["id"]))[:TOP_K]


def letterbox(height, width):
    scale = SIDE / max(height, width)
    return round(height * scale), round(width * scale)


def on_canvas(image):
    canvas = np.zeros((3, SIDE, SIDE), np.uint8)
    canvas[:, : image.shape[0], : image.shape[1]] = image.transpose(2, 0, 1)
    return canvas


def on_grid(bitmap, height, width):
    rows, columns = (max(1, round(n * GRID / SIDE)) for n in letterbox(height, width))
    grid = np.zeros((GRID, GRID), np.uint8)
    grid[:rows, :columns] = cv2.resize(bitmap, (columns, rows), interpolation=cv2.INTER_NEAREST)
    return grid


def labels(document, decode):
    height, width = document["image"]["height"], document["image"]["width"]
    annotations = chosen(document["annotations"])
    masks = [on_grid(decode(a["segmentation"]), height, width) for a in annotations]
    boxes = [np.array(a["bbox"], np.float32) / [width, height, width, height] for a in annotations]
    return np.stack(masks) if masks else np.zeros((0, GRID, GRID), np.uint8), boxes


def usual(jpeg, text):
    with Image.open(io.BytesIO(jpeg)) as opened:
        image = opened.convert("RGB")
    rows, columns = letterbox(image.height, image.width)
    image = np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR))
    return on_canvas(image), labels(json.loads(text), coco.decode)


def tuned(jpeg, text):
    height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    rows, columns = letterbox(height, width)
    # simplejpeg decodes at the smallest of libjpeg-turbo's scales that is not below these sizes.
    image = simplejpeg.decode_jpeg(jpeg, min_height=rows, min_width=columns)
    image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    return on_canvas(image), labels(orjson.loads(text), rlemasklib.decode)


def work(task):
    shard, part, parts, name = task
    cv2.setNumThreads(1)
    make = {"usual": usual, "tuned": tuned}[name]
    # Scanning the headers is part of the job: tarfile has no index.
    with tarfile.open(shard) as tar:
        members = {member.name.removeprefix("./"): member for member in tar if member.isfile()}
        stems = sorted(name[:-4] for name in members if name.endswith(".jpg"))[part::parts]
        for stem in stems:
            make(*(tar.extractfile(members[stem + suffix]).read() for suffix in (".jpg", ".json")))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return len(stems), usage.ru_utime + usage.ru_stime


def python(name, shards, workers):
    parts = max(1, -(-workers // len(shards)))
    tasks = [(shard, part, parts, name) for shard in shards for part in range(parts)]
    start = time.monotonic()
    # One task per process, so that its CPU time is that of the task.
    with multiprocessing.get_context("fork").Pool(workers, maxtasksperchild=1) as pool:
        done = pool.map(work, tasks, chunksize=1)
    seconds = time.monotonic() - start
    samples = sum(count for count, _ in done)
    return samples / seconds, 1e3 * sum(cpu for _, cpu in done) / samples


def ours(program, shards, workers):
    # Some epochs, because the first one takes its memory from the system; the last one counts.
    flags = ["--batch-size", "4", "--mask-size", str(GRID), "--top-k", str(TOP_K), "--epochs", "4"]
    command = [program, "bench", *shards, "--json", "--num-workers", str(workers), *flags]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    figures = json.loads(lines[-1])
    return figures["samples_per_second"], figures["process_cpu_ms"]


def main():
    global GRID, TOP_K
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", nargs="+")
    parser.add_argument("--maskstream", default="target/release/maskstream", help="the program to compare with")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mask-size", type=int, default=GRID, help="side of the grid of each mask")
    parser.add_argument("--top-k", type=int, default=TOP_K, help="masks of each image")
    args = parser.parse_args()
    # The processes of the peers are forked after this.
    GRID, TOP_K = args.mask_size, args.top_k
    loaders = {
        "maskstream": lambda: ours(args.maskstream, args.shards, args.workers),
        "tuned": lambda: python("tuned", args.shards, args.workers),
        "usual": lambda: python("usual", args.shards, args.workers),
    }
    found = {name: [] for name in loaders}
    for _ in range(args.rounds):
        for name, run in loaders.items():
            found[name].append(run())
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in found.items()}
    print(f"{'loader':12} {'samples/s':>10} {'CPU ms/sample':>14} {'CPU, ratio':>11}")
    for name, (rate, cpu) in medians.items():
        print(f"{name:12} {rate:10.1f} {cpu:14.1f} {cpu / medians['maskstream'][1]:10.2f}x")


if __name__ == "__main__":
    main()
