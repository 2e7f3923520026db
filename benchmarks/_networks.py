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


class Encoder(nn.Module):
    """Stem, 3 stages of ``depth`` blocks, mean over the image; ``width`` channels in the first stage."""

    def __init__(self, width, depth, bfloat16):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        blocks, n_in = [], width
        for stage in range(3):
            for i in range(depth):
                n_out = width * 2**stage
                blocks.append(Block(n_in, n_out, 2 if stage and not i else 1))
                n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.n_features = n_in
        self.bfloat16 = bfloat16

    def forward(self, X):
        X = X.contiguous(memory_format=torch.channels_last)
        # no cache: a CUDA graph must not share casts of parameters with what runs outside of it
        with torch.autocast(X.device.type, torch.bfloat16, enabled=self.bfloat16, cache_enabled=False):
            return self.blocks(self.stem(X)).mean((2, 3)).float()


class Graph(nn.Module):
    """An encoder in training mode as a CUDA graph, forward and backward, for batches of one shape.

    It launches some hundred small kernels at once, which one by one take the host longer than the GPU.
    """

    def __init__(self, encoder, X):
        super().__init__()
        self.encoder = encoder
        buffers = [buffer.clone() for buffer in encoder.buffers()]
        self._outputs = []
        torch.cuda.make_graphed_callables(self, (X,))  # replaces forward
        # The captured output would keep the nodes that add up gradients, and these belong to the stream of the capture.
        while self._outputs:
            self._outputs.pop().detach_()
        for buffer, before in zip(encoder.buffers(), buffers, strict=True):
            buffer.copy_(before)  # its trial runs have moved the batch norm's statistics

    def forward(self, X):
        out = self.encoder(X)
        if self.training:
            self._outputs[:] = [out]
        return out


class ResNet(nn.Module):
    """ResNet-(6 depth + 2) for CIFAR: 3 stages of ``depth`` blocks, ``width`` channels in the first.

    ``bfloat16`` computes convolutions in that precision, by autocast.
    """

    def __init__(self, width=16, depth=1, n_classes=10, bfloat16=False):
        super().__init__()
        self.encoder = Encoder(width, depth, bfloat16)
        self.head = nn.Linear(self.encoder.n_features, n_classes)
        self.to(memory_format=torch.channels_last)
        self._graphs = {}

    def forward(self, X):
        return self.head(self.encode(X))

    def encode(self, X):
        if X.shape in self._graphs and self.training and torch.is_grad_enabled():
            (graph,) = self._graphs[X.shape]
            return graph(X).clone()  # the next replay writes to the same memory, and whoever taps features keeps them
        return self.encoder(X)

    def capture(self, sizes):
        """Replay training passes over batches of these sizes as CUDA graphs from now on; on a CPU nothing happens.

        Before training: what is left of a pass on the default stream would have to wait within the capture. Not for
        double backward passes, nor for two passes of one size before their backward pass.
        """
        device = self.head.weight.device
        if device.type == "cuda":
            for n in sizes:  # in tuples, lest they count as parts of the module
                X = torch.randn(n, 3, 32, 32, device=device)
                self._graphs[X.shape] = (Graph(self.encoder, X),)
        return self
