"""Opponent: the fastest plain recipe for CIFAR-10 that is published, in PyTorch on the processor, in bfloat16.

    python torch_resnet.py DATA [--seed 0] [--epochs 10] [--no-views] [--widths 64 256 256]

After K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, written from its description: a
frozen whitening layer, three blocks of two convolutions that begin as the identity, fast biases, label smoothing,
Nesterov SGD on a triangle, looked-ahead weights, alternating mirroring, and judging over mirrored and shifted views.
Grey pictures run through the same network; digits are not mirrored, neither when learning nor when judged.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from pictures import Clock, options, read
from torch import Tensor, nn

BATCH = 1024
LR, MOMENTUM, DECAY, BIAS_SPEED = 11.5, 0.85, 0.0153, 64.0
SMOOTHING, SHIFT = 0.2, 2
LOOK_AHEAD = 5
WHITEN_BIAS_EPOCHS = 3


# The network.


class Norm(nn.BatchNorm2d):
    """Scale fixed at 1, and statistics that forget fast."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-12, momentum=0.4)
        self.weight.requires_grad = False


def convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """Its first filters hand the input on unchanged; the rest begin at random."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight.data[:inputs])
    return layer


def block(inputs: int, outputs: int) -> list[nn.Module]:
    first, second = convolution(inputs, outputs), convolution(outputs, outputs)
    return [first, nn.MaxPool2d(2), Norm(outputs), nn.GELU(), second, Norm(outputs), nn.GELU()]


class Scaled(nn.Linear):
    """No bias, and answers a ninth as loud."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features) / 9


def whitening(pixels: Tensor) -> nn.Conv2d:
    """Patches of 2 x 2 turned to their principal axes and evened out, in both signs.

    pixels: (pictures, channels, height, width), those whose patches are looked at.
    """
    channels = pixels.shape[1]
    patches = F.unfold(pixels, 2).transpose(1, 2).reshape(-1, 4 * channels)
    variances, axes = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (axes / (variances + 5e-4).sqrt()).T.reshape(-1, channels, 2, 2)
    layer = nn.Conv2d(channels, 2 * len(filters), 2)
    layer.weight.data = torch.cat([filters, -filters])
    layer.weight.requires_grad = False
    return layer


def build(pixels: Tensor, widths: list[int]) -> nn.Sequential:
    first = whitening(pixels)
    layers: list[nn.Module] = [first, nn.GELU()]
    channels = first.out_channels
    for width in widths:
        layers += block(channels, width)
        channels = width
    layers += [nn.MaxPool2d(3), nn.Flatten(), Scaled(channels, 10, bias=False)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


# The pictures.


def standardised(pixels: np.ndarray, like: np.ndarray) -> Tensor:
    """As (pictures, channels, height, width), with the mean and spread of each channel taken from `like`."""
    counts = [np.bincount(like[..., channel].ravel(), minlength=256) for channel in range(like.shape[3])]
    levels = np.arange(256)
    means = [np.average(levels, weights=count) for count in counts]
    spreads = [np.average((levels - m) ** 2, weights=count) ** 0.5 for m, count in zip(means, counts, strict=True)]
    even = (torch.tensor(pixels).float() - torch.tensor(means).float()) / torch.tensor(spreads).float()
    return even.permute(0, 3, 1, 2)


class Batches:
    """Epoch after epoch of one training part: shuffled, shifted by up to 2 pixels, mirrored in every other epoch."""

    def __init__(self, pixels: Tensor, labels: Tensor, mirror: bool) -> None:
        """pixels: (pictures, channels, height, width)."""
        self.labels = labels
        count, channels, height, width = pixels.shape
        padded = F.pad(pixels, (SHIFT,) * 4, "reflect").permute(0, 2, 3, 1)
        self.wide = padded.shape[2]
        self.area = padded.shape[1] * self.wide
        # One row a pixel, so that a batch is read in one go, wherever its windows lie.
        self.rows = padded.reshape(-1, channels).bfloat16()
        across, down = torch.arange(width), torch.arange(height)[:, None] * self.wide
        self.windows = torch.stack([down + across, down + across.flip(0)])
        # Which pictures are mirrored first is drawn once; from then on they take turns.
        self.mirrored = (torch.rand(count) < 0.5) if mirror else torch.zeros(count, dtype=torch.bool)
        self.mirror = mirror
        self.steps = max(1, count // BATCH)

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in torch.randperm(len(self.labels)).split(BATCH)[: self.steps]:
            down, across = torch.randint(2 * SHIFT + 1, (2, len(chosen)))
            corners = chosen * self.area + down * self.wide + across
            where = corners[:, None, None] + self.windows[self.mirrored[chosen].long()]
            pixels = self.rows.index_select(0, where.flatten()).view(*where.shape, -1)
            yield pixels.permute(0, 3, 1, 2), self.labels[chosen]
        if self.mirror:
            self.mirrored = ~self.mirrored


# Learning.


class LookAhead:
    """Slow weights that follow the fast ones; every few steps the fast ones go on from where the slow ones are."""

    def __init__(self, network: nn.Module) -> None:
        self.fast = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
        self.slow = [tensor.clone() for tensor in self.fast]

    @torch.no_grad()
    def follow(self, kept: float) -> None:
        """kept: the share of the slow weights that stays."""
        torch._foreach_lerp_(self.slow, self.fast, 1 - kept)
        torch._foreach_copy_(self.fast, self.slow)


def optimiser(network: nn.Module) -> torch.optim.SGD:
    # The paper's rate is for 1024 pictures and a momentum that gathers 1 + 1 / (1 - 0.85) gradients; losses are summed.
    thousand = 1024 * (1 + 1 / (1 - MOMENTUM))
    rate, decay = LR / thousand, DECAY * BATCH / thousand
    learned = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
    biases = [weight for name, weight in learned if name.endswith("bias") and name != "0.bias"]
    others = [weight for name, weight in learned if not name.endswith("bias") or name == "0.bias"]
    groups = [
        {"params": biases, "lr": rate * BIAS_SPEED, "weight_decay": decay / (rate * BIAS_SPEED)},
        {"params": others, "lr": rate, "weight_decay": decay / rate},
    ]
    return torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True, fused=True)


def triangle(steps: int) -> list[float]:
    """The share of the highest rate at each step: up from 0.2 over 23 % of them, then down to 0.07."""
    return np.interp(np.arange(steps + 1), [0, int(0.23 * steps), steps], [0.2, 1, 0.07]).tolist()


def learn(network: nn.Sequential, batches: Batches, epochs: int) -> Iterator[int]:
    """Yields the number of each epoch as it ends, with the network as it then is."""
    steps = epochs * batches.steps
    sgd, ahead, step = optimiser(network), LookAhead(network), 0
    schedule = torch.optim.lr_scheduler.LambdaLR(sgd, triangle(steps).__getitem__)
    for epoch in range(1, epochs + 1):
        network.train()
        network[0].bias.requires_grad = epoch <= WHITEN_BIAS_EPOCHS
        for pixels, labels in batches.epoch():
            with torch.autocast("cpu", torch.bfloat16):
                answers = network(pixels)
            loss = F.cross_entropy(answers.float(), labels, label_smoothing=SMOOTHING, reduction="sum")
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            schedule.step()
            step += 1
            if step % LOOK_AHEAD == 0:
                ahead.follow(0.95**LOOK_AHEAD * (step / steps) ** 3)
            if step == steps:
                ahead.follow(1.0)
        yield epoch


# Judging.


def views_of(pixels: Tensor, mirror: bool) -> list[tuple[float, Tensor]]:
    """As it is, and moved by one pixel either way along the diagonal, each also mirrored; with their weights."""
    height, width = pixels.shape[2:]
    padded = F.pad(pixels, (1,) * 4, "reflect")
    views = [(0.5, pixels), (0.25, padded[..., :height, :width]), (0.25, padded[..., 2:, 2:])]
    if mirror:
        views = [(weight / 2, turned) for weight, view in views for turned in (view, view.flip(3))]
    return views


@torch.inference_mode()
def judge(network: nn.Sequential, pixels: Tensor, labels: Tensor, mirror: bool, with_views: bool) -> dict[str, float]:
    network.eval()
    plain = together = 0
    for some, true in zip(pixels.split(BATCH), labels.split(BATCH), strict=True):
        views = views_of(some, mirror) if with_views else [(1.0, some)]
        with torch.autocast("cpu", torch.bfloat16):
            sums = sum(weight * network(_laid_out(view)).float() for weight, view in views)
            alone = network(_laid_out(some)).float() if with_views else sums
        together += int((sums.argmax(1) == true).sum())
        plain += int((alone.argmax(1) == true).sum())
    return {"accuracy": together / len(labels), "plain_accuracy": round(plain / len(labels), 5)}


def _laid_out(pixels: Tensor) -> Tensor:
    return pixels.contiguous(memory_format=torch.channels_last)


def main() -> None:
    clock = Clock()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--widths", type=int, nargs=3, default=[64, 256, 256])
    asked = options(parser, epochs=10)
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(asked.seed)
    pictures = read(asked.data, asked.limit)
    mirror = asked.data != "mnist"
    train = standardised(pictures.train_pixels, like=pictures.train_pixels)
    test = standardised(pictures.test_pixels, like=pictures.train_pixels)
    test_labels = torch.from_numpy(pictures.test_labels)
    network = build(train[:5000], asked.widths)
    batches = Batches(train, torch.from_numpy(pictures.train_labels), mirror)
    for epoch in learn(network, batches, asked.epochs):
        with clock.stopped():
            # The views cost six judgements, so only the last epoch's accuracy is with them.
            judged = judge(network, test, test_labels, mirror, asked.views and epoch == asked.epochs)
        clock.tell(epoch, **judged)


if __name__ == "__main__":
    main()
