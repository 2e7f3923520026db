"""The residual network for images of 32 x 32 pixels that the benchmarks share."""

import torch
from torch import nn
from torch.nn.functional import pad, relu

__all__ = ["ResNet"]


class Block(nn.Module):
    """Two 3 x 3 convolutions; the shortcut subsamples, and fills new channels with zeros."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.stride, self.n_new = stride, n_out - n_in

    def forward(self, X):
        shortcut = pad(X[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.n_new))
        X = self.norm2(self.conv2(relu(self.norm1(self.conv1(X)))))
        return relu(X + shortcut)


class ResNet(nn.Module):
    """ResNet-(6 depth + 2) for CIFAR: 3 stages of ``depth`` blocks, ``width`` channels in the first.

    ``bfloat16`` computes convolutions in that precision, by autocast.
    """

    def __init__(self, width=16, depth=1, n_classes=10, bfloat16=False):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        blocks, n_in = [], width
        for stage in range(3):
            for i in range(depth):
                n_out = width * 2**stage
                blocks.append(Block(n_in, n_out, 2 if stage and not i else 1))
                n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(n_in, n_classes)
        self.bfloat16 = bfloat16
        self.to(memory_format=torch.channels_last)

    def forward(self, X):
        X = X.contiguous(memory_format=torch.channels_last)
        with torch.autocast(X.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.head(self.blocks(self.stem(X)).mean((2, 3))).float()
