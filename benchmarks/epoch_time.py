"""Seconds per epoch with and without weights, side by side in one process.

    python benchmarks/epoch_time.py                      # the small ResNet, 32 x 32 images of noise
    python benchmarks/epoch_time.py --device cuda --n-samples 50000 --width 16 --depth 5

A residual network for CIFAR (3 stages of ``--depth`` blocks, ``--width`` channels in the first) on images of noise: the
contents do not matter for time. Contenders: *plain*, skorch's NeuralNetClassifier; *cached* and *clean*, the same net
with weights that are refitted after every epoch, from the features of the training pass or from a pass in evaluation
mode, by transport to 10 trusted images per class; *batch*, weights learned anew for every mini-batch, as in the
paper. All are in the middle of training, stage 2 for ours. They take turns, one epoch each per round, in an order that
rotates, so that a busy or throttled machine slows them all alike. Ratios are taken within a round.

Prints the median of the epochs, and the median and quartiles of the ratio to plain. Targets: cached at most 1.05 x
plain on a CPU and 1.03 x on a GPU, clean at most 1.45 x.
"""

import argparse
import time

import numpy as np
import torch
from skorch import NeuralNetClassifier
from torch import nn
from torch.nn.functional import relu

from skotw import OTSampleWeighter
from skotw.deep import OTWeightedNetClassifier

N_CLASSES, N_TRUSTED = 10, 10
TARGETS = {"cached": {"cpu": 1.05, "cuda": 1.03}, "clean": {"cpu": 1.45, "cuda": 1.45}}


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
        shortcut = nn.functional.pad(X[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.n_new))
        X = self.norm2(self.conv2(relu(self.norm1(self.conv1(X)))))
        return relu(X + shortcut)


class ResNet(nn.Module):
    """ResNet-(6 depth + 2)."""

    def __init__(self, width, depth):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        blocks, n_in = [], width
        for stage in range(3):
            for i in range(depth):
                n_out = width * 2**stage
                blocks.append(Block(n_in, n_out, 2 if stage and not i else 1))
                n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(n_in, N_CLASSES)

    def forward(self, X):
        return self.head(self.blocks(self.stem(X)).mean((2, 3)))


def draw(n_samples, imbalance, seed=0):
    """Images of noise, with long-tailed labels, and trusted ones."""
    rng = np.random.default_rng(seed)
    share = imbalance ** -(np.arange(N_CLASSES) / (N_CLASSES - 1))
    y = rng.choice(N_CLASSES, n_samples, p=share / share.sum())
    y_meta = np.repeat(np.arange(N_CLASSES), N_TRUSTED)
    X, X_meta = (rng.normal(size=(len(labels), 3, 32, 32)).astype(np.float32) for labels in (y, y_meta))
    return X, y, (X_meta, y_meta)


def contenders(meta, args):
    """Nets by name, initialised."""
    shared = {
        "module": ResNet,
        "module__width": args.width,
        "module__depth": args.depth,
        "criterion": nn.CrossEntropyLoss,
        "optimizer__momentum": 0.9,
        "lr": 0.01,
        "batch_size": args.batch_size,
        "max_epochs": 1,
        "iterator_train__shuffle": True,
        "train_split": None,
        "device": args.device,
        "verbose": 0,
    }
    weighter = OTSampleWeighter(reg=0.5)
    ours = {"meta": meta, "feature_layer": "head", "weighter": weighter, "warmup_epochs": 1, **shared}
    return {
        "plain": NeuralNetClassifier(**shared),
        "cached": OTWeightedNetClassifier(**ours),
        "clean": OTWeightedNetClassifier(features="clean", **ours),
        "batch": OTWeightedNetClassifier(refit_every="batch", **ours),
    }


def one_epoch(net, X, y):
    """Seconds of an epoch, its refit included."""
    if net.device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    net.partial_fit(X, y)
    if net.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def run(args):
    """{name: seconds of each round}."""
    X, y, meta = draw(args.n_samples, args.imbalance)
    nets = contenders(meta, args)
    for net in nets.values():  # stage 1, first refit, and whatever is done once
        for _ in range(2):
            net.partial_fit(X, y)
    names = list(nets)
    seconds = {name: [] for name in names}
    for i in range(args.rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            seconds[name].append(one_epoch(nets[name], X, y))
    return {name: np.array(values) for name, values in seconds.items()}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--n-samples", type=int, default=2000, help="training images (default: 2000)")
    parser.add_argument("--imbalance", type=float, default=100, help="most to least frequent class (default: 100)")
    parser.add_argument("--width", type=int, default=8, help="channels of the first stage (default: 8)")
    parser.add_argument("--depth", type=int, default=1, help="blocks per stage (default: 1, a ResNet-8)")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9, help="epochs of each contender (default: 9)")
    args = parser.parse_args(argv)
    seconds = run(args)
    print(
        f"{args.device}, {torch.get_num_threads()} threads: {args.n_samples} images of 32 x 32, "
        f"ResNet-{6 * args.depth + 2} of width {args.width}, batches of {args.batch_size}, "
        f"{N_CLASSES * N_TRUSTED} trusted, {args.rounds} rounds"
    )
    print(f"{'':<12}{'s per epoch':>12}{'x plain':>9}   quartiles")
    for name, values in seconds.items():
        low, middle, high = np.quantile(values / seconds["plain"], [0.25, 0.5, 0.75])
        target = TARGETS.get(name, {}).get(args.device)
        note = "" if target is None else f"   target at most {target}"
        print(f"{name:<12}{np.median(values):>12.3f}{middle:>9.3f}   {low:.3f} to {high:.3f}{note}")
    return seconds


if __name__ == "__main__":
    main()
