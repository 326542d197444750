"""The network that Iconoclass calls `resnet`, in plain PyTorch: how many pictures a second can it be trained on?

    python torch_step.py --width 64 [--side 32] [--batch-size 512] [--seconds 5]

bfloat16 by autocast, channels last, fused SGD: as fast as it goes on a processor. Prints pictures a second.
"""

from __future__ import annotations

import argparse
import os
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Convolution, pooling, batch norm, ReLU; then the same without pooling, added to what went in."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs, eps=1e-5, momentum=0.4) for _ in range(2))
        for norm in self.norms:
            norm.weight.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norms[0](F.max_pool2d(self.first(x), 2)))
        return x + F.relu(self.norms[1](self.second(x)))


class Resnet(nn.Module):
    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.whitening = nn.Conv2d(3, 24, 2).requires_grad_(False)
        blocks, inputs, outputs, side = [], 24, width, side - 1
        while side >= 4:
            blocks.append(Block(inputs, outputs))
            inputs, outputs, side = outputs, 4 * width, side // 2
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, 10, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.whitening(pixels)))
        return self.head(x.amax((2, 3))) / 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    network = Resnet(asked.width, asked.side).to(memory_format=torch.channels_last).train()
    learned = [weight for weight in network.parameters() if weight.requires_grad]
    sgd = torch.optim.SGD(learned, lr=0.01, momentum=0.85, nesterov=True, fused=True)
    pixels = torch.randn(asked.batch_size, 3, asked.side, asked.side).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (asked.batch_size,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            answers = network(pixels)
        loss = F.cross_entropy(answers.float(), labels, label_smoothing=0.1)
        sgd.zero_grad()
        loss.backward()
        sgd.step()

    for _ in range(3):
        step()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < asked.seconds:
        step()
        steps += 1
    print(steps * asked.batch_size / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
