"""Writes tests/golden/relevance.safetensors: what the two relevance heads give, computed by PyTorch.

    pip install torch safetensors numpy
    python scripts/make_relevance_vectors.py

It reads nothing. Images, queries, weights and targets come from the seed; the equations below are the reference.
Images are stored as bytes and mean byte/255; all else is computed and stored as float32, indices as int64. The
equations are computed in float64 as well, and how far each output is from that is printed: a tolerance has to be well
above it. One machine writes the same bytes each time; another one, or another PyTorch, may differ in the last bits, as
its sums run in another order.

The verbatim head is that of the project ARR-COC as its description has it. The grounded one keeps its parts and their
names, but takes the embedding of a patch for the query, and has a loss that trains it. "Open" marks below what the
descriptions leave open, and hence was chosen here.

B images, Q queries each, a grid of 32 x 32 = N patches, row by row, D numbers an embedding.

    images, images_tall             u8 [B,3,H,W], RGB
    query                           [B,D]
    weights.*                       state dict, of both heads
    colour.rgb, colour.lab          [M,3] L, a, b of some colours; a check of `lab` alone
    texture, texture_tall           [B,13,32,32] of the images
    verbatim.entropy                [B,32,32] before its min-max
    verbatim.information, .perspectival, .participatory     [B,32,32]
    verbatim.statistics, .weights   [B,9], [B,3]
    verbatim.balanced, .relevance   [B,N] before and after the min-max
    verbatim.top                    i64 [B,200] patches, best first
    verbatim.budget                 i64 [B,N] tokens of each patch, mostly 0
    ties.score, .top, .budget       the same of scores of which many are equal
    grounded.query_patch            i64 [B,Q]
    grounded.position               [N,2] y, x of the patches
    grounded.target                 [B,Q,N] how much of each patch the mask covers
    grounded.patch_valid            u8 [B,N]
    grounded.predicted_iou          [B,Q]
    grounded.embedding              [B,N,D]
    grounded.information, .edge     [B,N]
    grounded.logit                  [B,Q,N] the participatory map
    grounded.statistics, .weights   [B,Q,9], [B,Q,3]
    grounded.relevance              [B,Q,N] a logit, too
    grounded.bce, .dice             [B,Q] terms of the loss, of the relevance
    grounded.bce_logit, .dice_logit [B,Q] the same of the participatory map alone
    grounded.loss                   [1]
    grounded.gradient.*             its gradient by each of the weights
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
    """To [0, 1], by the smallest and the largest number of the whole tensor, so of all images of the batch together.

    Open: the epsilon. 1e-8 is below the last bit of a float32 for all but nearly constant maps; those become 0.
    """
    return (x - x.min()) / (x.max() - x.min() + 1e-8)


def deviation(x, keepdim=False):
    """Standard deviation of the last axis, over n - 1, as torch.std has it. The only one used here."""
    return x.std(-1, keepdim=keepdim)


# Texture


def resize(x, side):
    """Bilinear to a square, whose pixel i lies at (i + 0.5) * size / side - 0.5. Not averaged where it shrinks."""
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
    """Differences of a [B,1,H,W] to the right and downwards: positive where it gets brighter that way."""
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
    - L, a and the edges are of the image of 512 x 512, and so are the smallest and largest edge of the batch; the
      edges of the 32 x 32 need not reach 0 and 1.
    - y, x and the distance are made at 32 x 32: 0 and 1 are the outermost patches. The centre is (0.5, 0.5), between
      patches; the largest distance, sqrt(0.5), is that of the corners.
    """
    colours, edges = pixel_channels(resize(images, 512))
    # From 512 to 32 that is the mean of the pixels 16 i + 7 and 16 i + 8 of either axis: four of 256.
    sampled = resize(torch.cat([colours, *map(min_max, edges)], 1), GRID)
    place = place_channels(images.dtype).expand(len(images), 3, GRID, GRID)
    return torch.cat([sampled, place, sampled[:, EDGE : EDGE + 1], sampled[:, 3:4]], 1)


def entropy(texture):
    """Of the softmax over the channels: [B,13,32,32] to [B,32,32]."""
    p = texture.softmax(1)
    return -(p * (p + 1e-10).log()).sum(1)


# What both heads have


def texture_proj(dim):
    return nn.Sequential(nn.Conv2d(CHANNELS, 64, 1), nn.ReLU(), nn.Conv2d(64, dim, 1))


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

        Open: the epsilon; a product of norms below 1e-8 counts as that.
        """
        x = self.texture_proj(texture)
        norms = x.norm(dim=1) * query.norm(dim=1)[:, None, None]
        return ((x * query[:, :, None, None]).sum(1) / norms.clamp(min=1e-8) + 1) / 2


class AdaptiveTensionBalancer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight_predictor = weight_predictor(dim)

    def forward(self, maps, query):
        """Three maps [B,32,32] and [B,D] to statistics, weights and [B,N]. Statistics are of one image."""
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


# Allocation: of scores [B,N], never of their gradient


def ranked(score):
    """Patches from the highest score down. Open: ties; the lower index comes first."""
    return score.sort(dim=-1, descending=True, stable=True).indices


def top(score, count=200):
    return ranked(score)[:, :count]


def budget(score, least=64, span=336, total=5120):
    """Tokens of each patch, given scores in [0,1].

    Patches are taken from the highest score down. Each gets least + span * score tokens, halves rounded up.
    The first for which there is no room left ends it: it gets none, and nor does any after it, even if one would fit.
    (Open: all that. Shortening the last one instead would give it fewer than `least`.)
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


# The grounded head


class GroundedScorer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.texture_proj = texture_proj(dim)
        self.scale = nn.Parameter(torch.tensor([5.0]))
        self.margin = nn.Parameter(torch.tensor([0.3]))
        self.falloff = nn.Parameter(torch.tensor([12.0]))

    def embed(self, texture):
        """[B,13,32,32] to [B,N,D]. Open: the epsilon, and which patches count in the mean; all of them do."""
        x = self.texture_proj(texture).flatten(2).transpose(1, 2)
        x = x - x.mean(1, keepdim=True)
        return x / ((x**2).sum(-1, keepdim=True) + 1e-12).sqrt()

    def forward(self, embedding, query_patch, position):
        """Queries [B,Q,D] and logits [B,Q,N]."""
        dim = embedding.shape[-1]
        query = embedding.gather(1, query_patch[..., None].expand(-1, -1, dim))
        cosine = query @ embedding.transpose(1, 2)
        distance = ((position[query_patch][:, :, None] - position) ** 2).sum(-1).sqrt()
        return query, self.scale * (cosine - self.margin) - self.falloff * distance


class GroundedBalancer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight_predictor = weight_predictor(dim)
        self.bias = nn.Parameter(torch.tensor([-2.0]))

    def forward(self, maps, query):
        """Three maps [B,Q,N] and [B,Q,D] to statistics, weights and [B,Q,N]."""
        found = statistics(maps)
        lean = torch.tensor([0, 0, 2], dtype=query.dtype)
        weights = (0.1 * self.weight_predictor(torch.cat([found, query], -1)) + lean).softmax(-1)
        return found, weights, sum(weights[..., i, None] * m for i, m in enumerate(maps)) + self.bias


def standardised(x):
    """[B,32,32] to [B,N] of mean 0 and deviation 1. Open: over n or n - 1, the epsilon, and which patches; all."""
    x = x.flatten(1)
    return (x - x.mean(-1, keepdim=True)) / (deviation(x, keepdim=True) + 1e-6)


class GroundedHead(nn.Module):
    """Open: names of the four scalars, that `bias` learns and [0, 0, 2] does not, and that gradients go through the
    statistics and the gathered queries, too; nothing is detached."""

    def __init__(self, dim):
        super().__init__()
        self.participatory_scorer = GroundedScorer(dim)
        self.balancer = GroundedBalancer(dim)

    def forward(self, texture, query_patch, position):
        information, edge = standardised(entropy(texture)), standardised(texture[:, EDGE])
        embedding = self.participatory_scorer.embed(texture)
        query, logit = self.participatory_scorer(embedding, query_patch, position)
        maps = [m[:, None].expand_as(logit) for m in (information, edge)] + [logit]
        found, weights, relevance = self.balancer(maps, query)
        return {
            "embedding": embedding,
            "information": information,
            "edge": edge,
            "logit": logit,
            "statistics": found,
            "weights": weights,
            "relevance": relevance,
        }


def loss_terms(logit, target, valid):
    """Weighted binary cross-entropy, and 1 - soft dice, of each query, over the patches that are valid.

    Open: that the first is their mean, without dividing by the weights, and the 1 in the second.
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


# Inputs


def picture(rng, height, width):
    """Smooth colours, an ellipse, an edge and noise; dark and full colours among them."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [sum(np.sin(x * a + y * b + c) for a, b, c in rng.normal(size=(3, 3)) * [9, 9, 3]) for _ in range(3)]
    image = 0.5 + 0.25 * np.stack(waves)
    cy, cx, ry, rx = rng.uniform([0.3, 0.2, 0.1, 0.1], [0.7, 0.7, 0.25, 0.25])
    image[:, ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1] = rng.random((3, 1))
    image[:, x + 0.5 * y < 0.2] *= 0.06
    image += 0.04 * rng.normal(size=image.shape)
    return np.round(image.clip(0, 1) * 255).astype(np.uint8)


def coverage(rng, patch):
    """How much of each patch is in an ellipse with soft borders around a patch."""
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
    valid = np.ones((batch, GRID, GRID), np.uint8)
    # As if the second image were padded below, the third on the right.
    valid[1 % batch, -5:], valid[2 % batch, :, -6:] = 0, 0
    query_patch = np.stack([rng.choice(np.flatnonzero(v), queries, replace=False) for v in valid])
    target = np.array([[coverage(rng, p) for p in row] for row in query_patch]) * valid.reshape(batch, 1, patches)
    dark = [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.04, 0.04, 0.04], [0.041, 0.03, 0.05]]
    return {
        "images": torch.tensor(np.stack([picture(rng, 96, 80) for _ in range(batch)])),
        "images_tall": torch.tensor(np.stack([picture(rng, 576, 20)])),
        "query": floats(rng.normal(size=(batch, dim))),
        "colour.rgb": floats(np.concatenate([dark, rng.random((25, 3)) ** 2])),
        "ties.score": floats(rng.integers(0, 65, (2, patches)) / 64 * [[1], [0.25]]),
        "grounded.query_patch": torch.tensor(query_patch),
        "grounded.position": floats(np.stack(np.meshgrid(centres, centres, indexing="ij"), -1).reshape(-1, 2)),
        "grounded.target": floats(target),
        "grounded.patch_valid": torch.tensor(valid.reshape(batch, patches)),
        "grounded.predicted_iou": floats(np.resize([0.93, 1.03, 0.71, 0.88, 0.0, 0.97, 0.8], (batch, queries))),
    }


def random_weights(seed, dim):
    """Of the grounded head, which has all that the other one has, and four scalars; not the ones it starts from."""
    rng = np.random.default_rng([seed, 1])
    scalars = {"scale": 4.25, "margin": 0.2, "falloff": 9.5, "bias": -1.5}
    found = {}
    for name, value in GroundedHead(dim).state_dict().items():
        scalar = scalars.get(name.split(".")[1])
        if scalar is not None:
            array = np.full(value.shape, scalar)
        elif name.endswith("weight"):
            array = rng.normal(size=value.shape) * math.sqrt(2 / value[0].numel())
        else:
            array = rng.normal(size=value.shape) * 0.1
        found[name] = torch.tensor(array, dtype=torch.float32)
    return found


# Outputs


def outputs(given, weights, dim, dtype):
    """All that is computed, in one precision."""
    given = {k: v.to(dtype) if v.is_floating_point() else v for k, v in given.items()}
    weights = {k: v.to(dtype) for k, v in weights.items()}
    out = {}
    with torch.no_grad():
        out["colour.lab"] = lab(given["colour.rgb"][:, :, None, None])[:, :, 0, 0]
        for name in "", "_tall":
            out["texture" + name] = texture(given["images" + name].to(dtype) / 255)
        head = VerbatimHead(dim).to(dtype)
        head.load_state_dict({k: weights[k] for k in head.state_dict()})
        out |= {"verbatim." + k: v for k, v in head(out["texture"], given["query"]).items()}
        for name, score in ("verbatim", out["verbatim.relevance"]), ("ties", given["ties.score"]):
            out[name + ".top"], out[name + ".budget"] = top(score), budget(score)

    head = GroundedHead(dim).to(dtype)
    head.load_state_dict(weights)
    found = head(out["texture"], given["grounded.query_patch"], given["grounded.position"])
    loss, terms = grounded_loss(
        found, given["grounded.target"], given["grounded.patch_valid"], given["grounded.predicted_iou"]
    )
    loss.backward()
    out |= {"grounded." + k: v.detach() for k, v in (found | terms | {"loss": loss[None]}).items()}
    return out | {"grounded.gradient." + k: v.grad for k, v in head.named_parameters()}


def check(given, out):
    """What must hold whatever the numbers are."""
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
    for name in "verbatim", "grounded":
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
    embedding, query_patch = out["grounded.embedding"], given["grounded.query_patch"]
    assert ((embedding.norm(dim=-1) - 1).abs() < 1e-5).all()
    cosine = embedding @ embedding.transpose(1, 2)
    assert cosine.abs().max() <= 1 + 1e-5
    # A patch is nearest, and most alike, to itself.
    assert (out["grounded.logit"].argmax(-1) == query_patch).all()
    for name in "information", "edge":
        found = out["grounded." + name]
        assert found.mean(-1).abs().max() < 1e-4 and (deviation(found) - 1).abs().max() < 1e-3
    assert given["grounded.target"].min() >= 0 and given["grounded.target"].max() <= 1
    assert (given["grounded.target"].gather(2, query_patch[..., None]) > 0).all()
    for name, value in out.items():
        # The mean takes away what the last bias of the projection adds: its gradient is rounding, no more.
        if name.endswith("texture_proj.2.bias"):
            assert value.abs().max() < 1e-6
        elif ".gradient." in name:
            assert value.abs().max() > 1e-4


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
    golden = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "relevance.safetensors"
    parser = argparse.ArgumentParser(description="Writes what the relevance heads give, computed by PyTorch.")
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--queries", type=int, default=4)
    # Of this seed, no budget is close to a half, and the 200th score not to the next: last bits change neither.
    parser.add_argument("--seed", type=int, default=23)
    parser.add_argument("--out", type=pathlib.Path, default=golden)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    given = inputs(options.seed, options.dim, options.batch, options.queries)
    weights = random_weights(options.seed, options.dim)
    single, double = (outputs(given, weights, options.dim, dtype) for dtype in (torch.float32, torch.float64))
    for found in single, double:
        check(given, found)
    compare(single, double)
    tensors = given | {"weights." + k: v for k, v in weights.items()} | single
    save_file({k: v.contiguous() for k, v in tensors.items()}, str(options.out))
    print(f"{options.out}: {options.out.stat().st_size} bytes, {len(tensors)} tensors")


if __name__ == "__main__":
    main()
