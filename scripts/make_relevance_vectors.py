"""Writes examples/relevance/tests/golden/relevance.safetensors: outputs of the two relevance heads in PyTorch.

    pip install torch safetensors numpy
    python scripts/make_relevance_vectors.py

It has no input files. Images, queries, weights and targets come from the seed; the equations below are the reference.
Images are stored as bytes and mean byte/255; all else is computed and stored as float32, indices as int64. The
equations are computed in float64 as well, and the difference of each output from that is printed: a tolerance has to be
well above it. One machine writes the same bytes each time; another one, or another PyTorch, may differ in the last
bits, because it sums in another order.

The verbatim head follows the description of the project ARR-COC. The grounded head keeps its parts and their names, but
its query is the embedding of a patch, or a vector, and it has losses that train it: one finds the mask of a patch; the
other ("allocate") has one learned vector for all images and finds all masks. Its images are squares of which only a
part at the top left, the content, is image; the padding has no influence. "Open" marks points below that the
descriptions leave open and that were therefore chosen here.

B is the number of images, Q of queries per image, N of patches (a grid of 32 x 32, row by row), D of numbers per
embedding.

    images, images_tall             u8 [B,3,H,W], RGB
    query                           [B,D]
    weights.*                       state dict, of both heads
    colour.rgb, colour.lab          [M,3] L, a, b of some colours, to check `lab` alone
    texture, texture_tall           [B,13,32,32] of the images
    verbatim.entropy                [B,32,32] before its min-max
    verbatim.information, .perspectival, .participatory     [B,32,32]
    verbatim.statistics, .weights   [B,9], [B,3]
    verbatim.balanced, .relevance   [B,N] before and after the min-max
    verbatim.top                    i64 [B,200] patches, best first
    verbatim.budget                 i64 [B,N] tokens of each patch, mostly 0
    ties.score, .top, .budget       the same for scores of which many are equal
    canvas                          u8 [B,3,S,S], RGB, content and padding
    content                         i64 [B,2] height, width of the content
    grounded.query_patch            i64 [B,Q] valid ones
    grounded.position               [N,2] y, x of the patches
    grounded.target                 [B,Q,N] share of each patch that the mask covers; 0 in the padding, except in that
                                    of the third image
    grounded.predicted_iou          [B,Q]
    grounded.texture                [B,13,32,32] of the content; 0 at patches that are not valid
    grounded.valid                  u8 [B,N] whether the patch's centre is in the content
    grounded.entropy                [B,N] ln(13) at patches that are not valid
    grounded.input                  [B,13,N] the texture with mean 0 and deviation 1; 0 at patches that are not valid
    grounded.embedding              [B,N,D] 0 at patches that are not valid
    grounded.information, .edge     [B,N] 0 at patches that are not valid
    grounded.logit                  [B,Q,N] the participatory map, of all patches
    grounded.statistics, .weights   [B,Q,9], [B,Q,3]
    grounded.relevance              [B,Q,N] a logit, too, of all patches
    grounded.bce, .dice             [B,Q] terms of the loss, of the relevance
    grounded.bce_logit, .dice_logit [B,Q] the same for the participatory map alone
    grounded.loss                   [1]
    grounded.gradient.*             its gradient by each of the weights except the learned vector
    allocate.statistics, .weights   [B,9], [B,3]
    allocate.relevance              [B,N] of all patches
    allocate.share                  [B,N] its target: sums to 1 over the valid patches, 0 at others
    allocate.loss                   [1]
    allocate.gradient.*             its gradient by each of the weights except the falloff
    context.weight                  [64,13,3,3] of a first layer that sees the patches around each one
    context.embedding               [N,D] with it, of the last canvas
"""

import argparse
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

GRID = 32
CHANNELS = 13
EDGE = 7


def min_max(x):
    """Scales to [0, 1] by the minimum and maximum of the whole tensor; for a batch, over all its images together.

    Open: the epsilon. 1e-8 is below the last bit of a float32 except for nearly constant maps; those become 0.
    """
    return (x - x.min()) / (x.max() - x.min() + 1e-8)


def deviation(x, keepdim=False):
    """Standard deviation along the last axis, over n - 1 as in torch.std. No other one is used here."""
    return x.std(-1, keepdim=keepdim)


# Texture


def resize(x, side):
    """Resizes bilinearly to a square whose pixel i lies at (i + 0.5) * size / side - 0.5, without averaging."""
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


def lab(rgb):
    """sRGB in [0, 1] to L, a, b, on axis -3, by the white of D65."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    r, g, b = linear.unbind(-3)
    x = (0.412453 * r + 0.357580 * g + 0.180423 * b) / 0.95047
    y = 0.212671 * r + 0.715160 * g + 0.072169 * b
    z = (0.019334 * r + 0.119193 * g + 0.950227 * b) / 1.08883

    def curve(t):
        return torch.where(t > 0.008856, t ** (1 / 3), 7.787 * t + 4 / 29)

    x, y, z = curve(x), curve(y), curve(z)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -3)


def sobel(gray):
    """Differences of a [B,1,H,W] to the right and downwards: positive where it gets brighter in that direction."""
    kernel = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=gray.dtype) / 8
    padded = F.pad(gray, (1, 1, 1, 1), mode="replicate")
    return [F.conv2d(padded, k[None, None]) for k in (kernel, kernel.T)]


def pixel_channels(images):
    """Of a [B,3,H,W] in [0,1]: R, G, B, L/100, (a+128)/255 as [B,5,H,W]; Gx, Gy, their magnitude as three [B,1,H,W]."""
    lightness, green_red = lab(images)[:, :1] / 100, (lab(images)[:, 1:2] + 128) / 255
    r, g, b = images.split(1, 1)
    gx, gy = sobel(0.299 * r + 0.587 * g + 0.114 * b)
    return torch.cat([images, lightness, green_red], 1), [gx, gy, (gx**2 + gy**2 + 1e-8).sqrt()]


def place_channels(dtype):
    """y, x, distance to the centre: [3,32,32]."""
    line = torch.linspace(0, 1, GRID, dtype=dtype)
    y, x = line[:, None].expand(GRID, GRID), line[None].expand(GRID, GRID)
    distance = ((y - 0.5) ** 2 + (x - 0.5) ** 2).sqrt()
    return torch.stack([y, x, distance / distance.max()])


def texture(images):
    """[B,3,H,W] in [0,1] to [B,13,32,32].

    Channels: R, G, B, L/100, (a+128)/255, Gx, Gy, their magnitude, y, x, distance to the centre, magnitude, L.

    Open, and chosen here:
    - L, a and the edges are computed at 512 x 512, as are the smallest and largest edge of the batch; at 32 x 32, the
      edges need not reach 0 and 1.
    - y, x and the distance are computed at 32 x 32: 0 and 1 are the outermost patches. The centre is (0.5, 0.5),
      between patches; the largest distance, sqrt(0.5), is that of the corners.
    """
    colours, edges = pixel_channels(resize(images, 512))
    # From 512 to 32, this is the mean of the pixels 16 i + 7 and 16 i + 8 along each axis: four of 256.
    sampled = resize(torch.cat([colours, *map(min_max, edges)], 1), GRID)
    place = place_channels(images.dtype).expand(len(images), 3, GRID, GRID)
    return torch.cat([sampled, place, sampled[:, EDGE : EDGE + 1], sampled[:, 3:4]], 1)


def grounded_texture(canvas, content):
    """[B,3,S,S] in [0,1], of which image b is content[b] = rows, columns, to [B,13,32,32] and which patches are valid.

    Channels as above, but they are means over all pixels of a patch that are content, and Gx, Gy and the magnitude are
    scaled to [0, 1] afterwards, over the valid patches of one image. Beyond the content's border, its last pixels are
    repeated. A patch is valid if its centre is inside the content; all channels of the others are 0, even if some of
    their pixels are content. y, x and the distance are those of the canvas. Needs a valid patch.
    """
    side = canvas.shape[-1] // GRID
    assert canvas.shape[-2:] == (side * GRID, side * GRID)
    found = torch.zeros(len(canvas), CHANNELS, GRID, GRID, dtype=canvas.dtype)
    valid = torch.zeros(len(canvas), GRID, GRID, dtype=torch.bool)
    for image, (height, width) in enumerate(content.tolist()):
        colours, edges = pixel_channels(canvas[image : image + 1, :, :height, :width])
        pixels = torch.cat([colours, *edges], 1)[0]
        for i in range(GRID):
            for j in range(GRID):
                if (i + 0.5) * side < height and (j + 0.5) * side < width:
                    valid[image, i, j] = True
                    # A slice ends where the content does.
                    patch = pixels[:, i * side : (i + 1) * side, j * side : (j + 1) * side]
                    found[image, :8, i, j] = patch.mean((1, 2))
        inside = valid[image]
        for channel in 5, 6, 7:
            found[image, channel, inside] = min_max(found[image, channel, inside])
        found[image, 8:11, inside] = place_channels(canvas.dtype)[:, inside]
        found[image, 11], found[image, 12] = found[image, EDGE], found[image, 3]
    return found, valid.flatten(1)


def entropy(texture):
    """The entropy of the softmax over the channels: [B,13,32,32] to [B,32,32]."""
    p = texture.softmax(1)
    return -(p * (p + 1e-10).log()).sum(1)


# What both heads have


def texture_proj(dim, window=1):
    """Open: a window wider than a patch, and the zeros around the grid."""
    return nn.Sequential(nn.Conv2d(CHANNELS, 64, window, padding=window // 2), nn.ReLU(), nn.Conv2d(64, dim, 1))


def weight_predictor(dim):
    return nn.Sequential(nn.Linear(9 + dim, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 3))


def statistics(maps):
    """Mean, maximum, deviation of the first map, of the second, of the third: three times [...,N] to [...,9]."""
    return torch.stack([s for m in maps for s in (m.mean(-1), m.max(-1).values, deviation(m))], -1)


# The head as it was published


class ParticipatoryScorer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.texture_proj = texture_proj(dim)

    def forward(self, texture, query):
        """[B,13,32,32] and [B,D] to [B,32,32] in [0,1].

        Open: the epsilon; a product of norms below 1e-8 is replaced by 1e-8.
        """
        x = self.texture_proj(texture)
        norms = x.norm(dim=1) * query.norm(dim=1)[:, None, None]
        return ((x * query[:, :, None, None]).sum(1) / norms.clamp(min=1e-8) + 1) / 2


class AdaptiveTensionBalancer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight_predictor = weight_predictor(dim)

    def forward(self, maps, query):
        """Three maps [B,32,32] and [B,D] to statistics, weights and [B,N]. Statistics are computed per image."""
        maps = [m.flatten(1) for m in maps]
        found = statistics(maps)
        weights = self.weight_predictor(torch.cat([found, query], -1)).softmax(-1)
        return found, weights, sum(weights[:, i, None] * m for i, m in enumerate(maps))


class VerbatimHead(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.participatory_scorer = ParticipatoryScorer(dim)
        self.balancer = AdaptiveTensionBalancer(dim)

    def forward(self, texture, query):
        uncertain = entropy(texture)
        maps = [min_max(uncertain), texture[:, EDGE], self.participatory_scorer(texture, query)]
        found, weights, balanced = self.balancer(maps, query)
        return {
            "entropy": uncertain,
            **dict(zip(["information", "perspectival", "participatory"], maps)),
            "statistics": found,
            "weights": weights,
            "balanced": balanced,
            "relevance": min_max(balanced),
        }


# Allocation: a function of scores [B,N], without a gradient


def ranked(score):
    """Patches from the highest score down. Open: ties; the lower index comes first."""
    return score.sort(dim=-1, descending=True, stable=True).indices


def top(score, count=200):
    return ranked(score)[:, :count]


def budget(score, least=64, span=336, total=5120):
    """Tokens of each patch, given scores in [0,1].

    Patches are taken from the highest score down. Each gets least + span * score tokens, halves rounded up.
    The first patch for which there is no room left ends the allocation: it gets none, and neither does any after it,
    even if one would fit. (Open: all of this. Shortening the last one instead would give it fewer than `least`.)
    """
    wanted = (score * span + (least + 0.5)).floor().long()
    found = torch.zeros_like(wanted)
    for image, order in enumerate(ranked(score)):
        left = total
        for patch in order:
            if wanted[image, patch] > left:
                break
            found[image, patch] = wanted[image, patch]
            left -= int(found[image, patch])
    return found


# The grounded head. `valid`, bool [B,N], marks the patches that are image


def masked_mean(x, valid):
    """The mean along the last axis, where valid."""
    valid = valid.to(x.dtype)
    return (valid * x).sum(-1) / valid.sum(-1).clamp(min=1)


def masked_variance(x, valid):
    """The variance along the last axis, where valid, over n - 1 of the n valid ones."""
    apart = x - masked_mean(x, valid)[..., None]
    valid = valid.to(x.dtype)
    return (valid * apart**2).sum(-1) / (valid.sum(-1) - 1).clamp(min=1)


def masked_statistics(maps, valid):
    """`statistics` of three [B,Q,N], of what is valid. The gradient of the maximum goes to its first occurrence.

    The epsilon under the root is for constant maps.
    """
    valid = valid[:, None].expand_as(maps[0])
    found = []
    for m in maps:
        highest = m.masked_fill(~valid, -math.inf).max(-1).values
        found += [masked_mean(m, valid), highest, (masked_variance(m, valid) + 1e-12).sqrt()]
    return torch.stack(found, -1)


def standardised(x, valid, epsilon=1e-6):
    """Standardizes the last axis over the valid patches; 0 at others. Open: over n or n - 1, and the epsilon."""
    apart = x - masked_mean(x, valid)[..., None]
    return apart / (masked_variance(x, valid).sqrt()[..., None] + epsilon) * valid


def scorer_input(texture, valid):
    """[B,13,32,32] to [B,13,N], what the scorer sees. A channel that hardly varies is mostly noise and stays small."""
    return standardised(texture.flatten(2), valid[:, None], 1e-3)


def normalised(x):
    """Scales to length 1. Open: the epsilon."""
    return x / ((x**2).sum(-1, keepdim=True) + 1e-12).sqrt()


class GroundedScorer(nn.Module):
    def __init__(self, dim, window):
        super().__init__()
        self.texture_proj = texture_proj(dim, window)
        self.scale = nn.Parameter(torch.tensor([5.0]))
        self.margin = nn.Parameter(torch.tensor([0.3]))
        self.falloff = nn.Parameter(torch.tensor([12.0]))
        self.query = nn.Parameter(torch.ones(dim))

    def embed(self, texture, valid):
        """[B,13,32,32] to [B,N,D]. The mean is over the valid patches; the result is 0 for others."""
        x = self.texture_proj(scorer_input(texture, valid).unflatten(2, (GRID, GRID))).flatten(2)
        x = (x - masked_mean(x, valid[:, None])[..., None]).transpose(1, 2)
        return normalised(x) * valid[..., None]

    def of_patches(self, embedding, query_patch, position):
        """Queries [B,Q,D] and logits [B,Q,N] from similarity and distance."""
        dim = embedding.shape[-1]
        query = embedding.gather(1, query_patch[..., None].expand(-1, -1, dim))
        cosine = query @ embedding.transpose(1, 2)
        distance = ((position[query_patch][:, :, None] - position) ** 2).sum(-1).sqrt()
        return query, self.scale * (cosine - self.margin) - self.falloff * distance

    def of_vectors(self, embedding, vectors):
        """The same for any [B,Q,D], from similarity alone."""
        query = normalised(vectors)
        return query, self.scale * (query @ embedding.transpose(1, 2) - self.margin)


class GroundedBalancer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight_predictor = weight_predictor(dim)
        self.bias = nn.Parameter(torch.tensor([-2.0]))

    def forward(self, maps, query, valid):
        """Three maps [B,Q,N] and [B,Q,D] to statistics, weights and [B,Q,N]."""
        found = masked_statistics(maps, valid)
        lean = torch.tensor([0, 0, 2], dtype=query.dtype)
        weights = (0.1 * self.weight_predictor(torch.cat([found, query], -1)) + lean).softmax(-1)
        return found, weights, sum(weights[..., i, None] * m for i, m in enumerate(maps)) + self.bias


class GroundedHead(nn.Module):
    """Open: names of the four scalars, that `bias` learns and [0, 0, 2] does not, and that gradients go through the
    statistics and the gathered queries, too; nothing is detached."""

    def __init__(self, dim, window=1):
        super().__init__()
        self.participatory_scorer = GroundedScorer(dim, window)
        self.balancer = GroundedBalancer(dim)

    def maps(self, texture, valid):
        """The parts that do not depend on the query."""
        uncertain = entropy(texture).flatten(1)
        return {
            "entropy": uncertain,
            "input": scorer_input(texture, valid),
            "embedding": self.participatory_scorer.embed(texture, valid),
            "information": standardised(uncertain, valid),
            "edge": standardised(texture[:, EDGE].flatten(1), valid),
        }

    def mixed(self, found, query, logit, valid):
        maps = [found[k][:, None].expand_as(logit) for k in ("information", "edge")] + [logit]
        numbers, weights, relevance = self.balancer(maps, query, valid)
        return found | {"logit": logit, "statistics": numbers, "weights": weights, "relevance": relevance}

    def forward(self, texture, valid, query_patch, position):
        """The output for queries at patches [B,Q]."""
        found = self.maps(texture, valid)
        query, logit = self.participatory_scorer.of_patches(found["embedding"], query_patch, position)
        return self.mixed(found, query, logit, valid)

    def directed(self, texture, valid, vectors):
        """The output for query vectors [B,Q,D]."""
        found = self.maps(texture, valid)
        query, logit = self.participatory_scorer.of_vectors(found["embedding"], vectors)
        return self.mixed(found, query, logit, valid)

    def allocate(self, texture, valid):
        """The output for the learned vector, the only query of each image."""
        return self.directed(texture, valid, self.participatory_scorer.query.expand(len(texture), 1, -1))


def loss_terms(logit, target, valid):
    """Weighted binary cross-entropy and 1 - soft Dice of each query, over the valid patches.

    Open: that the first is a mean over patches, not divided by the weights, and the 1 in the second.
    """
    valid = valid[:, None].to(logit.dtype)
    p = logit.sigmoid()
    bce = ((3 * target * F.softplus(-logit) + (1 - target) * F.softplus(logit)) * valid).sum(-1) / valid.sum(-1)
    shared, both = (p * target * valid).sum(-1), ((p + target) * valid).sum(-1)
    return bce, 1 - (2 * shared + 1) / (both + 1)


def grounded_loss(found, target, valid, predicted_iou):
    """The mean over all queries of the batch, weighted by predicted_iou clamped to [0,1]. Not all weights may be 0."""
    weight = predicted_iou.clamp(0, 1)
    terms, total = {}, 0
    for share, name, end in (1, "relevance", ""), (0.5, "logit", "_logit"):
        bce, dice = loss_terms(found[name], target, valid)
        terms["bce" + end], terms["dice" + end] = bce, dice
        total = total + share * (weight * (bce + dice)).sum() / weight.sum()
    return total, terms


def shares(target, valid, predicted_iou):
    """The share of the whole that each patch of an image should get, [B,N]: every mask distributes its predicted_iou,
    clamped to [0,1], over the patches that it covers, in proportion to the covered area; the result is divided by its
    sum.

    Only valid patches count, and masks that cover some of them. In an image where none counts, all shares are 0.
    """
    found = torch.zeros_like(target[:, 0])
    for image, inside in enumerate(valid):
        for covered, weight in zip(target[image], predicted_iou[image].clamp(0, 1)):
            covered = covered * inside
            if covered.sum() > 0:
                found[image] += weight * covered / covered.sum()
        if found[image].sum() > 0:
            found[image] /= found[image].sum()
    return found


def allocate_loss(relevance, share, valid):
    """Cross-entropy of the softmax over the valid patches: the mean over the images in which a mask counts. There must
    be one."""
    found = []
    for numbers, wanted, inside in zip(relevance, share, valid):
        if wanted.sum() > 0:
            found.append(-(wanted[inside] * numbers[inside].log_softmax(-1)).sum())
    return torch.stack(found).mean()


# Inputs


def picture(rng, height, width):
    """Images of smooth colours, an ellipse, an edge and noise, with dark and saturated colours among them."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [sum(np.sin(x * a + y * b + c) for a, b, c in rng.normal(size=(3, 3)) * [9, 9, 3]) for _ in range(3)]
    image = 0.5 + 0.25 * np.stack(waves)
    cy, cx, ry, rx = rng.uniform([0.3, 0.2, 0.1, 0.1], [0.7, 0.7, 0.25, 0.25])
    image[:, ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1] = rng.random((3, 1))
    image[:, x + 0.5 * y < 0.2] *= 0.06
    image += 0.04 * rng.normal(size=image.shape)
    return np.round(image.clip(0, 1) * 255).astype(np.uint8)


def coverage(rng, patch):
    """The share of each patch inside an ellipse with soft borders around a patch."""
    y, x = np.mgrid[:GRID, :GRID] + 0.0
    cy, cx = np.divmod(patch, GRID) + rng.uniform(-1, 1, 2)
    ry, rx = np.exp(rng.uniform(math.log(1.2), math.log(9), 2))
    radius = np.sqrt(((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2)
    return ((1 - radius) * math.sqrt(ry * rx) + 0.5).clip(0, 1).ravel()


def inputs(seed, dim, batch, queries):
    rng = np.random.default_rng(seed)

    def floats(array):
        return torch.tensor(np.asarray(array), dtype=torch.float32)

    patches = GRID * GRID
    centres = (np.arange(GRID) + 0.5) / GRID
    # The first image has no padding. In the second, the last row of valid patches is partly content; in the third, the
    # first column of invalid patches is.
    side = 96
    content = np.resize([[side, side], [80, side], [side, 61]], (batch, 2))
    valid = np.array([(centres[:, None] * side < h) & (centres * side < w) for h, w in content])
    query_patch = np.stack([rng.choice(np.flatnonzero(v), queries, replace=False) for v in valid])
    target = np.array([[coverage(rng, p) for p in row] for row in query_patch])
    other = np.random.default_rng([seed, 2])
    canvas = np.zeros((batch, 3, side, side), np.uint8)
    for image, (height, width) in enumerate(content):
        canvas[image, :, :height, :width] = picture(other, height, width)
        outside = ~valid[image].ravel()
        if width == side:
            target[image, :, outside] = 0
        elif queries > 1:
            # Here the first mask covers all the padding, and another one covers nothing but padding.
            target[image, 0, outside] = 1
            target[image, queries // 2] = coverage(other, GRID * GRID // 2 + GRID * 13 // 16) * outside
    dark = [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.04, 0.04, 0.04], [0.041, 0.03, 0.05]]
    return {
        "images": torch.tensor(np.stack([picture(rng, 96, 80) for _ in range(batch)])),
        "images_tall": torch.tensor(np.stack([picture(rng, 576, 20)])),
        "query": floats(rng.normal(size=(batch, dim))),
        "colour.rgb": floats(np.concatenate([dark, rng.random((25, 3)) ** 2])),
        "ties.score": floats(rng.integers(0, 65, (2, patches)) / 64 * [[1], [0.25]]),
        "canvas": torch.tensor(canvas),
        "content": torch.tensor(content),
        "grounded.query_patch": torch.tensor(query_patch),
        "grounded.position": floats(np.stack(np.meshgrid(centres, centres, indexing="ij"), -1).reshape(-1, 2)),
        "grounded.target": floats(target),
        "context.weight": floats(np.random.default_rng([seed, 4]).normal(size=(64, CHANNELS, 3, 3)) / math.sqrt(60)),
        "grounded.predicted_iou": floats(np.resize([0.93, 1.03, 0.71, 0.88, 0.0, 0.97, 0.8], (batch, queries))),
    }


def random_weights(seed, dim):
    """Weights of the grounded head, which has those of the other head, four scalars and a vector. They are not its
    initial weights."""
    rng = np.random.default_rng([seed, 1])
    scalars = {"scale": 4.25, "margin": 0.2, "falloff": 9.5, "bias": -1.5}
    found = {}
    for name, value in GroundedHead(dim).state_dict().items():
        scalar = scalars.get(name.split(".")[1])
        if scalar is not None:
            array = np.full(value.shape, scalar)
        elif name.endswith(".query"):
            array = np.random.default_rng([seed, 3]).normal(size=value.shape)
        elif name.endswith("weight"):
            array = rng.normal(size=value.shape) * math.sqrt(2 / value[0].numel())
        else:
            array = rng.normal(size=value.shape) * 0.1
        found[name] = torch.tensor(array, dtype=torch.float32)
    return found


# Outputs


def verbatim_outputs(given, weights, dim, dtype):
    out = {"colour.lab": lab(given["colour.rgb"][:, :, None, None])[:, :, 0, 0]}
    for name in "", "_tall":
        out["texture" + name] = texture(given["images" + name].to(dtype) / 255)
    head = VerbatimHead(dim).to(dtype)
    head.load_state_dict({k: weights[k] for k in head.state_dict()})
    out |= {"verbatim." + k: v for k, v in head(out["texture"], given["query"]).items()}
    for name, score in ("verbatim", out["verbatim.relevance"]), ("ties", given["ties.score"]):
        out[name + ".top"], out[name + ".budget"] = top(score), budget(score)
    return out


def grounded_head(weights, dim, dtype, window=1):
    head = GroundedHead(dim, window).to(dtype)
    head.load_state_dict(weights)
    return head


def find_mask(given, head, texture, valid):
    """All outputs of the task whose query is a patch."""
    found = head(texture, valid, given["grounded.query_patch"], given["grounded.position"])
    loss, terms = grounded_loss(found, given["grounded.target"], valid, given["grounded.predicted_iou"])
    return found | terms | {"loss": loss[None]}


def find_shares(given, head, texture, valid):
    """All outputs of the task whose query is the learned vector."""
    found = head.allocate(texture, valid)
    found = {k: found[k][:, 0] for k in ("statistics", "weights", "relevance")}
    share = shares(given["grounded.target"], valid, given["grounded.predicted_iou"])
    loss = allocate_loss(found["relevance"], share, valid)
    return found | {"share": share, "loss": loss[None]}


def grounded_outputs(given, weights, dim, dtype):
    seen, valid = grounded_texture(given["canvas"].to(dtype) / 255, given["content"])
    out = {"grounded.texture": seen, "grounded.valid": valid.to(torch.uint8)}
    for name, task in ("grounded.", find_mask), ("allocate.", find_shares):
        head = grounded_head(weights, dim, dtype)
        found = task(given, head, seen, valid)
        found["loss"].backward()
        out |= {name + k: v.detach() for k, v in found.items()}
        out |= {name + "gradient." + k: v.grad for k, v in head.named_parameters() if v.grad is not None}
    first = {"participatory_scorer.texture_proj.0.weight": given["context.weight"]}
    wide = grounded_head(weights | first, dim, dtype, 3)
    out["context.embedding"] = wide.participatory_scorer.embed(seen, valid)[-1].detach().clone()
    return out


def in_precision(tensors, dtype):
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}


def outputs(given, weights, dim, dtype):
    """All outputs, in one precision."""
    given, weights = in_precision(given, dtype), in_precision(weights, dtype)
    with torch.no_grad():
        out = verbatim_outputs(given, weights, dim, dtype)
    return out | grounded_outputs(given, weights, dim, dtype)


def check(given, out):
    """Properties that must hold for any numbers."""
    for name, value in out.items():
        assert value.isfinite().all(), name
    for name in "texture", "texture_tall":
        found = out[name]
        assert found.min() >= 0 and found.max() <= 1
        assert (found[:, 11] == found[:, EDGE]).all() and (found[:, 12] == found[:, 3]).all()
    for name in "information", "perspectival", "participatory", "relevance":
        found = out["verbatim." + name]
        assert found.min() >= 0 and found.max() <= 1, name
    for name in "information", "relevance":
        assert out["verbatim." + name].min() == 0 and (out["verbatim." + name].max() - 1).abs() < 1e-6
    assert out["verbatim.entropy"].max() <= math.log(CHANNELS) + 1e-6
    for name in "verbatim", "grounded", "allocate":
        assert ((out[name + ".weights"].sum(-1) - 1).abs() < 1e-6).all()
        assert out[name + ".weights"].min() > 0
    for name, score in ("verbatim", out["verbatim.relevance"]), ("ties", given["ties.score"]):
        for row, best, tokens in zip(score, out[name + ".top"], out[name + ".budget"]):
            assert best.unique().numel() == 200
            pairs = [(-float(row[p]), int(p)) for p in best]
            assert pairs == sorted((-float(v), p) for p, v in enumerate(row))[:200]
            taken = int((tokens > 0).sum())
            assert set(best[:taken].tolist()) == set(tokens.nonzero()[:, 0].tolist())
            assert tokens[tokens > 0].min() >= 64 and tokens.max() <= 400 and 5120 - 400 < tokens.sum() <= 5120
    check_grounded(given, out)


def check_grounded(given, out):
    valid, seen, side = out["grounded.valid"].bool(), out["grounded.texture"], given["canvas"].shape[-1] / GRID
    for count, (height, width) in zip(valid.sum(-1), given["content"].tolist()):
        assert count == math.ceil(height / side - 0.5) * math.ceil(width / side - 0.5) > 1
    assert seen.min() >= 0 and seen.max() <= 1
    assert (seen[:, 11] == seen[:, EDGE]).all() and (seen[:, 12] == seen[:, 3]).all()
    assert (seen.flatten(2).transpose(1, 2)[~valid] == 0).all()
    for image, inside in zip(seen.flatten(2), valid):
        for channel in 5, 6, 7:
            assert image[channel, inside].min() == 0 and (image[channel, inside].max() - 1).abs() < 1e-6
    embedding, query_patch = out["grounded.embedding"], given["grounded.query_patch"]
    assert valid.gather(1, query_patch).all()
    assert (embedding[~valid] == 0).all()
    assert ((embedding[valid].norm(dim=-1) - 1).abs() < 1e-5).all()
    cosine = embedding @ embedding.transpose(1, 2)
    assert cosine.abs().max() <= 1 + 1e-5
    # A patch is nearest and most similar to itself.
    assert (out["grounded.logit"].argmax(-1) == query_patch).all()
    assert ((out["grounded.entropy"][~valid] - math.log(CHANNELS)).abs() < 1e-6).all()
    for name in "information", "edge":
        found = out["grounded." + name]
        assert (found[~valid] == 0).all()
        for image, inside in zip(found, valid):
            assert image[inside].mean().abs() < 1e-4 and (deviation(image[inside]) - 1).abs() < 1e-3
    target = given["grounded.target"]
    assert target.min() >= 0 and target.max() <= 1 and (target.amax(-1) > 0).all()
    # A mask covers its query patch, unless the mask is entirely in the padding.
    inside, outside = (target * valid[:, None]).sum(-1), (target * ~valid[:, None]).sum(-1)
    assert ((target.gather(2, query_patch[..., None])[..., 0] > 0) == (inside > 0)).all()
    if len(valid) > 2 and target.shape[1] > 1:
        assert (outside[:2] == 0).all() and (inside[:2] > 0).all()
        assert ((inside == 0) & (outside > 0))[2].sum() == 1 and ((inside > 0) & (outside > 0))[2].any()
    share = out["allocate.share"]
    assert share.min() >= 0 and (share[~valid] == 0).all() and ((share.sum(-1) - 1).abs() < 1e-5).all()
    # No softmax has a lower loss than the target itself.
    least = -(share * share.clamp(min=1e-30).log()).sum(-1).mean()
    assert out["allocate.loss"].item() > least
    for name, value in out.items():
        # Subtracting the mean cancels the last bias of the projection, and the softmax over the patches cancels the
        # bias of the balancer: their gradients are only rounding noise.
        if name.endswith("texture_proj.2.bias") or name == "allocate.gradient.balancer.bias":
            assert value.abs().max() < 1e-6
        elif ".gradient." in name:
            assert value.abs().max() > 1e-4, name
    assert "grounded.gradient.participatory_scorer.query" not in out
    assert "allocate.gradient.participatory_scorer.falloff" not in out


def check_padding(given, weights, dim, dtype, out):
    """Neither pixels nor targets in the padding change any output or gradient by a bit."""
    given, weights = in_precision(given, dtype), in_precision(weights, dtype)
    changed = torch.Generator().manual_seed(1)
    canvas = torch.randint(0, 256, given["canvas"].shape, generator=changed, dtype=torch.uint8)
    for image, (height, width) in enumerate(given["content"].tolist()):
        canvas[image, :, :height, :width] = given["canvas"][image, :, :height, :width]
    target = torch.rand(given["grounded.target"].shape, generator=changed).to(dtype)
    target = torch.where(out["grounded.valid"].bool()[:, None], given["grounded.target"], target)
    again = grounded_outputs(given | {"canvas": canvas, "grounded.target": target}, weights, dim, dtype)
    for name, value in again.items():
        assert torch.equal(value, out[name]), name


def check_missing(given, weights, dim, out):
    """An image of which no mask counts is not part of the mean. In float64."""
    given, weights = in_precision(given, torch.float64), in_precision(weights, torch.float64)
    kept = slice(0, len(given["canvas"]) - 1)
    iou = given["grounded.predicted_iou"].clone()
    iou[-1] = 0
    without = grounded_outputs(given | {"grounded.predicted_iou": iou}, weights, dim, torch.float64)
    assert (without["allocate.share"][-1] == 0).all()
    names = [k for k in given if k in ("canvas", "content") or k.startswith("grounded.") and k != "grounded.position"]
    alone = grounded_outputs(given | {k: given[k][kept] for k in names}, weights, dim, torch.float64)
    for name in "allocate.loss", "grounded.loss":
        assert (without[name] - alone[name]).abs() < 1e-12, name


def check_unmasked(given, weights, dim):
    """If all is content, the results equal those of the equations without padding. In float64."""
    given, weights = in_precision(given, torch.float64), in_precision(weights, torch.float64)
    canvas = given["canvas"].double() / 255
    side = canvas.shape[-1] // GRID
    seen, valid = grounded_texture(canvas, torch.full_like(given["content"], canvas.shape[-1]))
    assert valid.all()

    colours, edges = pixel_channels(canvas)
    pooled = F.avg_pool2d(torch.cat([colours, *edges], 1), side)
    for image in pooled:
        image[5:] = torch.stack([min_max(channel) for channel in image[5:]])
    place = place_channels(torch.float64).expand(len(canvas), 3, GRID, GRID)
    plain = torch.cat([pooled, place, pooled[:, EDGE : EDGE + 1], pooled[:, 3:4]], 1)
    assert (seen - plain).abs().max() < 1e-12

    def z(x):
        return (x - x.mean(-1, keepdim=True)) / (deviation(x, keepdim=True) + 1e-6)

    head = grounded_head(weights, dim, torch.float64)
    with torch.no_grad():
        flat = plain.flatten(2)
        flat = (flat - flat.mean(-1, keepdim=True)) / (deviation(flat, keepdim=True) + 1e-3)
        x = head.participatory_scorer.texture_proj(flat.unflatten(2, (GRID, GRID))).flatten(2).transpose(1, 2)
        x = x - x.mean(1, keepdim=True)
        embedding = x / ((x**2).sum(-1, keepdim=True) + 1e-12).sqrt()
        information, edge = z(entropy(plain).flatten(1)), z(plain[:, EDGE].flatten(1))

        def mixed(logit, query):
            maps = [information[:, None].expand_as(logit), edge[:, None].expand_as(logit), logit]
            numbers = torch.cat([statistics(maps), query], -1)
            lean = torch.tensor([0, 0, 2], dtype=torch.float64)
            weight = (0.1 * head.balancer.weight_predictor(numbers) + lean).softmax(-1)
            return sum(weight[..., i, None] * m for i, m in enumerate(maps)) + head.balancer.bias

        scale, margin, falloff = (weights["participatory_scorer." + k] for k in ("scale", "margin", "falloff"))
        position, query_patch = given["grounded.position"], given["grounded.query_patch"]
        query = torch.stack([e[patches] for e, patches in zip(embedding, query_patch)])
        logit = scale * (torch.einsum("bqd,bnd->bqn", query, embedding) - margin)
        distance = torch.cdist(position[query_patch], position.expand(len(canvas), -1, -1))
        near = logit - falloff * distance
        # An embedding given as a vector of any length is the same query, except for the distance.
        for found, expected in (
            (head(seen, valid, query_patch, position), near),
            (head.directed(seen, valid, 7 * query), logit),
        ):
            assert (found["embedding"] - embedding).abs().max() < 1e-9
            assert (found["information"] - information).abs().max() < 1e-9
            assert (found["edge"] - edge).abs().max() < 1e-9
            assert (found["logit"] - expected).abs().max() < 1e-9
            assert (found["relevance"] - mixed(expected, query)).abs().max() < 1e-9


def check_gradients(given, weights, dim, out):
    """Gradients against central differences for some of the numbers of each tensor, in float64."""
    given, weights = in_precision(given, torch.float64), in_precision(weights, torch.float64)
    rng, step = np.random.default_rng(0), 1e-6
    for name, task in ("grounded.", find_mask), ("allocate.", find_shares):
        head = grounded_head(weights, dim, torch.float64)
        seen, valid = out["grounded.texture"], out["grounded.valid"].bool()
        for key, value in head.named_parameters():
            gradient = out.get(name + "gradient." + key, torch.zeros_like(value)).flatten()
            numbers = value.detach().view(-1)
            for i in rng.choice(len(numbers), min(3, len(numbers)), replace=False):
                before, losses = numbers[i].item(), []
                for moved in before + step, before - step:
                    numbers[i] = moved
                    with torch.no_grad():
                        losses.append(task(given, head, seen, valid)["loss"].item())
                numbers[i] = before
                assert abs((losses[0] - losses[1]) / (2 * step) - gradient[i].item()) < 1e-8, (name, key)


def compare(single, double):
    print(f"{'float32 against float64':60} {'largest':>9} {'apart':>9} {'relative':>9}")
    for name, value in single.items():
        exact = double[name]
        if value.is_floating_point():
            apart, largest = (value.double() - exact).abs().max().item(), exact.abs().max().item()
            print(f"{name + ' ' + str(list(value.shape)):60} {largest:9.2e} {apart:9.2e} {apart / largest:9.2e}")
        else:
            print(f"{name + ' ' + str(list(value.shape)):60} {int((value != exact).sum())} of {value.numel()} differ")


def main():
    root = pathlib.Path(__file__).parent.parent
    golden = root / "examples" / "relevance" / "tests" / "golden" / "relevance.safetensors"
    parser = argparse.ArgumentParser(description="Writes what the relevance heads give, computed by PyTorch.")
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--queries", type=int, default=4)
    # With this seed, no budget is close to a half, and the 200th score not to the next: last bits change neither.
    parser.add_argument("--seed", type=int, default=23)
    parser.add_argument("--out", type=pathlib.Path, default=golden)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    given = inputs(options.seed, options.dim, options.batch, options.queries)
    weights = random_weights(options.seed, options.dim)
    single, double = (outputs(given, weights, options.dim, dtype) for dtype in (torch.float32, torch.float64))
    for found, dtype in (single, torch.float32), (double, torch.float64):
        check(given, found)
        check_padding(given, weights, options.dim, dtype, found)
    check_missing(given, weights, options.dim, double)
    check_unmasked(given, weights, options.dim)
    check_gradients(given, weights, options.dim, double)
    compare(single, double)
    tensors = given | {"weights." + k: v for k, v in weights.items()} | single
    save_file({k: v.contiguous() for k, v in tensors.items()}, str(options.out))
    print(f"{options.out}: {options.out.stat().st_size} bytes, {len(tensors)} tensors")


if __name__ == "__main__":
    main()
