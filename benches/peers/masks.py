"""Other libraries' mask operations, timed on request.

Reads one line of JSON with the images, their counts strings and polygons, then one line per request that names a peer
and an operation. Writes one line with the peers and their operations, then one line with the result of each request. A
peer that is not installed is left out. `cargo bench --bench mask` starts this script; `pip install -r requirements.txt`
installs the peers.

A method of a peer returns inputs and a function; the timed loop calls the function on each input. If a library takes
lists, an input is a list of all masks of an image, so that the cost of a call from Python is shared. If a library has
two ways to do the same, the faster one is used.
"""

import gc
import json
import re
import sys
import time
import zlib
from importlib.metadata import version

import numpy as np

try:
    import cv2

    # CPU time is measured, and our side uses one thread.
    cv2.setNumThreads(1)
except ImportError:
    cv2 = None

# As `cargo bench --bench mask` has them.
GROUP = 16
THICKNESS = 54
THRESHOLD = 0.5
LEAST_NS = 20_000_000


class Cases:
    """The inputs of the operations, with the masks that the request selects."""

    def __init__(self, images):
        self.step = 1
        self.sizes = [(image["height"], image["width"]) for image in images]
        self.images = [
            [{"size": list(size), "counts": counts.encode()} for counts in image["counts"]]
            for size, image in zip(self.sizes, images)
        ]
        self.polygons = [image["polygons"] for image in images]

    def masks(self):
        return [mask for image in self.images for mask in image][:: self.step]

    def pairs(self):
        """Each mask with the next one of its image."""
        pairs = [(mask, image[(i + 1) % len(image)]) for image in self.images for i, mask in enumerate(image)]
        return pairs[:: self.step]

    def groups(self):
        chunks = [image[i : i + GROUP] for image in self.images for i in range(0, len(image), GROUP)]
        return [chunk for chunk in chunks if len(chunk) == GROUP]


def on_columns(call):
    """A function of OpenCV on a column-major bitmap, passed as its transpose: a view instead of a copy."""
    return lambda bitmap: call(bitmap.T).T


def resized(rows, columns, interpolation):
    return on_columns(lambda bitmap: cv2.resize(bitmap, (rows, columns), interpolation=interpolation))


def to_255(bitmap):
    """By area, OpenCV rounds to integers, so shares need a scale of 255."""
    return np.multiply(bitmap, 255, out=bitmap)


def arrays(images):
    """Polygons for libraries that read arrays faster than lists."""
    return [[np.array(polygon) for polygon in polygons] for polygons in images]


def boxes_of(module, image):
    return np.asarray(module.toBbox(image), np.float64)


class Common:
    """Libraries with the interface of pycocotools: masks are dicts, counts are strings."""

    def outlines_of(self, cases):
        return cases.polygons

    def area_of_string(self, cases):
        return cases.images, self.module.area

    def box_of_string(self, cases):
        return cases.images, self.module.toBbox

    def decode_string_to_bitmap(self, cases):
        return cases.masks(), self.module.decode

    def union_of_2_strings(self, cases):
        return [list(pair) for pair in cases.pairs()], self.module.merge

    def intersection_of_2_strings(self, cases):
        return [list(pair) for pair in cases.pairs()], lambda pair: self.module.merge(pair, True)

    def union_of_16_strings(self, cases):
        return cases.groups(), self.module.merge

    def iou_of_2_strings(self, cases):
        inputs = [([a], [b]) for a, b in cases.pairs()]
        return inputs, lambda pair: self.module.iou(pair[0], pair[1], [False])

    def iou_matrix_of_strings(self, cases):
        return cases.images, lambda image: self.module.iou(image, image, [False] * len(image))

    def iou_matrix_of_boxes(self, cases):
        boxes = [boxes_of(self.module, image) for image in cases.images]
        return boxes, lambda boxes: self.module.iou(boxes, boxes, [False] * len(boxes))

    def polygon_to_string(self, cases):
        inputs = list(zip(self.outlines_of(cases), cases.sizes))
        return inputs, lambda one: self.module.frPyObjects(one[0], *one[1])

    def encode_bitmap_to_string(self, cases):
        return [self.module.decode(mask) for mask in cases.masks()], self.module.encode

    def encode_row_major_bitmap_to_string(self, cases):
        bitmaps = [np.ascontiguousarray(self.module.decode(mask)) for mask in cases.masks()]
        # Column-major libraries need this first; OpenCV transposes faster than numpy.
        return bitmaps, lambda bitmap: self.module.encode(cv2.transpose(bitmap).T)


class WithOpenCv(Common):
    """Decodes masks and leaves the rest to OpenCV."""

    def decode_string_to_row_major_bitmap(self, cases):
        return cases.masks(), lambda mask: cv2.transpose(self.module.decode(mask).T)

    def nearest(self, cases, rows, columns):
        resize = resized(rows, columns, cv2.INTER_NEAREST)
        return cases.masks(), lambda mask: resize(self.module.decode(mask))

    def by_area(self, cases, rows, columns):
        resize = resized(rows, columns, cv2.INTER_AREA)
        return cases.masks(), lambda mask: resize(to_255(self.module.decode(mask)))

    def nearest_64x64_of_string(self, cases):
        return self.nearest(cases, 64, 64)

    def nearest_256x256_of_string(self, cases):
        return self.nearest(cases, 256, 256)

    def nearest_683x1024_of_string(self, cases):
        return self.nearest(cases, 683, 1024)

    def area_64x64_of_string(self, cases):
        return self.by_area(cases, 64, 64)

    def area_256x256_of_string(self, cases):
        return self.by_area(cases, 256, 256)

    def area_683x1024_of_string(self, cases):
        return self.by_area(cases, 683, 1024)


class Pycocotools(WithOpenCv):
    name = "pycocotools"

    def __init__(self):
        from pycocotools import _mask, mask

        self.module, self.inner = mask, _mask

    def outlines_of(self, cases):
        return arrays(cases.polygons)

    def parse(self, cases):
        return cases.images, self.inner._frString

    def to_string(self, cases):
        return [self.inner._frString(image) for image in cases.images], self.inner._toString

    def decode_string_to_packed_buffer(self, cases):
        return cases.masks(), lambda mask: np.packbits(self.module.decode(mask), axis=1)

    def boundary_of_string(self, cases):
        """As in Boundary IoU's own code."""
        kernel = np.ones((3, 3), np.uint8)

        def call(mask):
            bitmap = self.module.decode(mask)
            height, width = bitmap.shape
            # With the frame, a mask also has a boundary where the image's edge cuts it off.
            framed = cv2.copyMakeBorder(bitmap.T, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
            inner = cv2.erode(framed, kernel, iterations=THICKNESS)[1 : width + 1, 1 : height + 1].T
            return self.module.encode(bitmap - inner)

        return cases.masks(), call

    def components_of_string(self, cases):
        return cases.masks(), lambda mask: cv2.connectedComponents(self.module.decode(mask).T, connectivity=8)[0] - 1

    def outlines(self, mask):
        return cv2.findContours(self.module.decode(mask).T, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]

    def outlines_of_string(self, cases):
        return cases.masks(), lambda mask: len(self.outlines(mask))

    def outlines_within_1_pixel_of_string(self, cases):
        return cases.masks(), lambda mask: len([cv2.approxPolyDP(ring, 1, True) for ring in self.outlines(mask)])

    def nms_of_strings(self, cases):
        def call(image):
            overlaps = self.module.iou(image, image, [False] * len(image)) > THRESHOLD
            dropped = np.zeros(len(image), bool)
            kept = []
            for index in range(len(image)):
                if not dropped[index]:
                    kept.append(index)
                    dropped |= overlaps[index]
            return kept

        return cases.images, call


class Hotcoco(WithOpenCv):
    name = "hotcoco"

    def __init__(self):
        from hotcoco import mask

        self.module = mask

    def encode_row_major_bitmap_to_string(self, cases):
        bitmaps = [np.ascontiguousarray(self.module.decode(mask)) for mask in cases.masks()]
        return bitmaps, self.module.encode


class FasterCocoEval(Common):
    name = "faster-coco-eval"

    def __init__(self):
        from faster_coco_eval.core import mask

        self.module = mask

    def boundary_of_string(self, cases):
        def call(mask):
            return self.module.rleToBoundary(mask, THICKNESS / np.hypot(*mask["size"]))

        return cases.masks(), call


class Rlemasklib:
    """Masks are objects that hold runs, or dicts like those of pycocotools."""

    name = "rlemasklib"

    def __init__(self):
        import rlemasklib
        from rlemasklib import rlemasklib_cython

        self.module, self.inner, self.Mask = rlemasklib, rlemasklib_cython, rlemasklib.RLEMask

    def each(self, cases, call):
        return [self.Mask.from_dict(mask) for mask in cases.masks()], call

    def each_pair(self, cases, call):
        return [(self.Mask.from_dict(a), self.Mask.from_dict(b)) for a, b in cases.pairs()], call

    def each_image(self, cases, call):
        return [[self.Mask.from_dict(mask) for mask in image] for image in cases.images], call

    # From strings, or to them.

    def parse(self, cases):
        return cases.images, self.inner._from_leb128_dicts

    def to_string(self, cases):
        return [self.inner._from_leb128_dicts(image) for image in cases.images], self.inner._to_leb128_dicts

    def area_of_string(self, cases):
        return cases.images, self.inner.area

    def box_of_string(self, cases):
        return cases.images, self.inner.toBbox

    def decode_string_to_bitmap(self, cases):
        return cases.masks(), lambda mask: self.Mask.from_dict(mask).to_array()

    def decode_string_to_buffer(self, cases):
        buffers = {size: np.zeros(size, np.uint8, order="F") for size in cases.sizes}

        def call(mask):
            buffer = buffers[tuple(mask["size"])]
            self.Mask.from_dict(mask).decode_into(buffer, fg_value=1, bg_value=0)
            return buffer

        return cases.masks(), call

    def decode_string_to_row_major_bitmap(self, cases):
        return cases.masks(), lambda mask: self.Mask.from_dict(mask).to_array(order="C")

    def decode_string_to_row_major_buffer(self, cases):
        buffers = {size: np.zeros(size, np.uint8) for size in cases.sizes}

        def call(mask):
            buffer = buffers[tuple(mask["size"])]
            self.Mask.from_dict(mask).decode_into(buffer, fg_value=1, bg_value=0)
            return buffer

        return cases.masks(), call

    def decode_string_to_packed_buffer(self, cases):
        return cases.masks(), lambda mask: np.packbits(self.Mask.from_dict(mask).to_array(order="C"), axis=1)

    def nearest(self, cases, *size):
        return cases.masks(), lambda mask: self.Mask.from_dict(mask).resize(size).to_array(order="C")

    def by_area(self, cases, rows, columns):
        resize = resized(rows, columns, cv2.INTER_AREA)
        return cases.masks(), lambda mask: resize(self.Mask.from_dict(mask).to_array(fg_value=255))

    nearest_64x64_of_string = WithOpenCv.nearest_64x64_of_string
    nearest_256x256_of_string = WithOpenCv.nearest_256x256_of_string
    nearest_683x1024_of_string = WithOpenCv.nearest_683x1024_of_string
    area_64x64_of_string = WithOpenCv.area_64x64_of_string
    area_256x256_of_string = WithOpenCv.area_256x256_of_string
    area_683x1024_of_string = WithOpenCv.area_683x1024_of_string

    def encode_bitmap_to_string(self, cases):
        bitmaps = [self.Mask.from_dict(mask).to_array() for mask in cases.masks()]
        return bitmaps, lambda bitmap: self.Mask.from_array(bitmap).to_dict()

    def encode_row_major_bitmap_to_string(self, cases):
        bitmaps = [self.Mask.from_dict(mask).to_array(order="C") for mask in cases.masks()]
        return bitmaps, lambda bitmap: self.Mask.from_array(bitmap).to_dict()

    def union_of_2_strings(self, cases):
        return [list(pair) for pair in cases.pairs()], self.module.union

    def intersection_of_2_strings(self, cases):
        return [list(pair) for pair in cases.pairs()], self.module.intersection

    def union_of_16_strings(self, cases):
        return cases.groups(), self.module.union

    def iou_matrix_of_boxes(self, cases):
        boxes = [boxes_of(self.inner, image) for image in cases.images]
        return boxes, lambda boxes: self.inner.iou(boxes, boxes, [False] * len(boxes))

    def polygon_to_string(self, cases):
        inputs = list(zip(arrays(cases.polygons), cases.sizes))
        return inputs, lambda one: self.inner.frPyObjects(one[0], *one[1])

    # From runs to runs.

    def area(self, cases):
        return self.each(cases, self.Mask.area)

    def box(self, cases):
        return self.each(cases, self.Mask.bbox)

    def centroid(self, cases):
        return self.each(cases, self.Mask.centroid)

    def encode_bitmap(self, cases):
        return [self.Mask.from_dict(mask).to_array() for mask in cases.masks()], self.Mask.from_array

    def encode_row_major_bitmap(self, cases):
        return [self.Mask.from_dict(mask).to_array(order="C") for mask in cases.masks()], self.Mask.from_array

    def union_of_2(self, cases):
        return self.each_pair(cases, lambda pair: pair[0] | pair[1])

    def intersection_of_2(self, cases):
        return self.each_pair(cases, lambda pair: pair[0] & pair[1])

    def difference_of_2(self, cases):
        return self.each_pair(cases, lambda pair: pair[0] - pair[1])

    def xor_of_2(self, cases):
        return self.each_pair(cases, lambda pair: pair[0] ^ pair[1])

    def union_of_16(self, cases):
        groups = [[self.Mask.from_dict(mask) for mask in group] for group in cases.groups()]
        return groups, self.Mask.union

    def iou_of_2(self, cases):
        return self.each_pair(cases, lambda pair: pair[0].iou(pair[1]))

    def iou_matrix(self, cases):
        return self.each_image(cases, lambda masks: self.Mask.iou_matrix(masks, masks))

    def polygon(self, cases):
        outlines = [(one.reshape(-1, 2), s) for p, s in zip(arrays(cases.polygons), cases.sizes) for one in p]
        return outlines, lambda one: self.Mask.from_polygon(one[0], imshape=one[1])

    def resize_256x256(self, cases):
        return self.each(cases, lambda mask: mask.resize((256, 256)))

    def resize_683x1024(self, cases):
        return self.each(cases, lambda mask: mask.resize((683, 1024)))

    resample_256x256 = resize_256x256
    resample_683x1024 = resize_683x1024

    def crop_to_box(self, cases):
        masks = self.each(cases, None)[0]
        inputs = [(mask, mask.bbox().astype(np.int64)) for mask in masks]
        return inputs, lambda one: one[0].crop(one[1])

    def pad(self, cases):
        return self.each(cases, lambda mask: mask.pad(8, 8, 8, 8))

    def flip_horizontal(self, cases):
        return self.each(cases, self.Mask.fliplr)

    def flip_vertical(self, cases):
        return self.each(cases, self.Mask.flipud)

    def transpose(self, cases):
        return self.each(cases, self.Mask.transpose)

    def complement(self, cases):
        return self.each(cases, self.Mask.complement)

    def components_4(self, cases):
        return self.each(cases, lambda mask: len(mask.connected_components(4)))

    def components_8(self, cases):
        return self.each(cases, lambda mask: len(mask.connected_components(8)))

    def fill_holes(self, cases):
        # By size: in our masks, hardly any hole is larger, and hardly any region outside is smaller.
        return self.each(cases, lambda mask: mask.fill_small_holes(min_size=100_000, connectivity=4))

    def erode_1(self, cases):
        return self.each(cases, lambda mask: mask.erode3x3(8))

    def dilate_1(self, cases):
        return self.each(cases, lambda mask: mask.dilate3x3(8))

    def erode_5(self, cases):
        return self.each(cases, lambda mask: mask.erode("square", 11))

    def dilate_5(self, cases):
        return self.each(cases, lambda mask: mask.dilate("square", 11))

    def boundary(self, cases):
        def call(mask):
            # Here, pixels beyond the image's edge equal those at the edge; a frame makes them background.
            height, width = mask.shape
            inner = mask.pad(1, 1, 1, 1).erode("square", 2 * THICKNESS + 1).crop([1, 1, width, height])
            return mask - inner

        return self.each(cases, call)


class Digest:
    """A number that is equal on both sides if their results are: a checksum, or a sum if they may differ slightly."""

    def __init__(self, exact, order):
        self.exact, self.order, self.crc, self.sum = exact, order, 0, 0

    def add(self, result):
        if isinstance(result, dict):
            counts = result["counts"]
            self.crc = zlib.crc32(counts if isinstance(counts, bytes) else counts.encode(), self.crc)
        elif isinstance(result, (list, tuple)):
            for one in result:
                self.add(one)
        elif type(result).__name__ == "RLEs":
            # Masks that pycocotools or rlemasklib has parsed.
            module = sys.modules[type(result).__module__]
            self.add((getattr(module, "_toString", None) or module._to_leb128_dicts)(result))
        elif hasattr(result, "to_dict"):
            self.add(result.to_dict() if self.exact else int(result.area()))
        elif isinstance(result, np.ndarray) and result.dtype == np.uint8 and self.exact:
            self.crc = zlib.crc32(result.tobytes(self.order), self.crc)
        elif isinstance(result, np.ndarray):
            self.sum += float(result.sum(dtype=np.float64))
        else:
            self.sum += float(result)

    def value(self):
        return float(self.crc) + self.sum


def spent(inputs, call):
    start = time.process_time_ns()
    for one in inputs:
        call(one)
    return time.process_time_ns() - start


class Operations:
    """The peers' operations; the inputs of the latest one are kept."""

    def __init__(self, cases):
        self.cases, self.key, self.latest = cases, None, None

    def prepared(self, request):
        key = (request["peer"], request["operation"], request["step"])
        if key != self.key:
            self.latest = None
            self.cases.step = request["step"]
            self.key, self.latest = key, getattr(PEERS[request["peer"]], method(request["operation"]))(self.cases)
        return self.latest

    def check(self, request):
        inputs, call = self.prepared(request)
        digest = Digest(request["exact"], "F" if request["operation"] in COLUMN_MAJOR else "C")
        for one in inputs:
            digest.add(call(one))
        return {"digest": digest.value()}

    def time(self, request):
        inputs, call = self.prepared(request)
        passes, total = 0, 0
        while total < LEAST_NS:
            total += spent(inputs, call)
            passes += 1
        return {"ns": total, "passes": passes}


COLUMN_MAJOR = ("decode string to bitmap", "decode string to buffer")
PEERS = {}


def method(operation):
    return re.sub(r"\W+", "_", operation)


def start_peers():
    for kind in (Pycocotools, Rlemasklib, Hotcoco, FasterCocoEval):
        try:
            PEERS[kind.name] = kind()
        except ImportError:
            pass


def answer(message):
    print(json.dumps(message), flush=True)


def main():
    start_peers()
    operations = Operations(Cases(json.loads(sys.stdin.readline())))
    able = {name: [one for one in dir(peer) if one[0] != "_"] for name, peer in PEERS.items()}
    answer({"peers": [{"name": name, "version": version(name), "methods": able[name]} for name in PEERS]})
    gc.disable()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer(operations.check(request) if request["check"] else operations.time(request))
        except Exception as error:
            answer({"error": f"{type(error).__name__}: {error}"})
        gc.collect()


if __name__ == "__main__":
    main()
