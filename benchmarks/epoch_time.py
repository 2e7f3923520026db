"""Seconds per epoch with and without weights, side by side in one process.

    python benchmarks/epoch_time.py                      # the small ResNet, 32 x 32 images of noise
    python benchmarks/epoch_time.py --device cuda --n-samples 50000 --width 16 --depth 5
    python benchmarks/epoch_time.py --contenders cached clean batch

A residual network for CIFAR (3 stages of ``--depth`` blocks, ``--width`` channels in the first) on images of noise: the
contents do not matter for time. Contenders:

- *plain*: skorch's NeuralNetClassifier;
- *cached* and *clean*: the same net with weights that are refitted after every epoch, from the features of the training
  pass or from a pass in evaluation mode, by transport to 10 trusted images per class;
- *batch*: weights learned anew for every mini-batch;
- *MW-Net*: Meta-Weight-Net (Shu et al., NeurIPS 2019); a small network weighs samples by their loss, and learns from
  the meta loss after a virtual step;
- *L2RW*: Learning to Reweight (Ren et al., ICML 2018); weights are the gradient of the meta loss after a virtual step;
- *authors*: stage 2 of Guo et al. (NeurIPS 2022) in the passes of their released script, in batches of 16. It trains
  the last layer only: an epoch has no backward pass through the network, and accomplishes less than the others.

More by name: *authors 128* in batches of 128, so that the procedure is told from its batches; *authors lean*, without
passes over the same images that a frozen network with resting batch norm makes superfluous, also with a batch size;
*MW-Net forward* and *L2RW forward*, the same weights by forward-mode differentiation, which costs less and is not what
those papers do. All but plain know the same trusted images. ``_contenders.py`` has the details.

All are in the middle of training, stage 2 for ours. They take turns, one epoch each per round, in an order that
rotates, so that a busy or throttled machine slows them all alike. Ratios are taken within a round.

With ``--resident`` the images stay on the device, where batches are gathered: the loader then takes next to nothing of
an epoch, which leaves nothing for the weights to hide behind.

Prints the median of the epochs, and the median and quartiles of the ratio to plain. Targets: cached at most 1.05 x
plain on a CPU and 1.03 x on a GPU, clean at most 1.45 x.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from _contenders import AuthorsNet, LearningToReweight, MetaWeightNet
from _images import ImageRows, Images
from _networks import ResNet
from skorch import NeuralNetClassifier
from torch import nn

from skotw import OTSampleWeighter
from skotw.deep import OTWeightedNetClassifier

N_CLASSES, N_TRUSTED = 10, 10
OURS = {"cached": {}, "clean": {"features": "clean"}, "batch": {"refit_every": "batch"}}
BILEVEL = {"MW-Net": MetaWeightNet, "L2RW": LearningToReweight}
DEFAULT = ["plain", *OURS, *BILEVEL, "authors", "authors 128"]
TARGETS = {"cached": {"cpu": 1.05, "cuda": 1.03}, "clean": {"cpu": 1.45, "cuda": 1.45}}


def draw(n_samples, imbalance, seed=0):
    """Images of noise, with long-tailed labels, and trusted ones."""
    rng = np.random.default_rng(seed)
    share = imbalance ** -(np.arange(N_CLASSES) / (N_CLASSES - 1))
    y = rng.choice(N_CLASSES, n_samples, p=share / share.sum())
    y_meta = np.repeat(np.arange(N_CLASSES), N_TRUSTED)
    X, X_meta = (rng.normal(size=(len(labels), 3, 32, 32)).astype(np.float32) for labels in (y, y_meta))
    return X, y, (X_meta, y_meta)


def resident(X, y, meta, device):
    """Training and trusted images by numbers, and how batches of them are gathered."""
    images = Images(np.concatenate([X, meta[0]]), device)
    train, trusted = ImageRows(np.arange(len(X)), y), ImageRows(np.arange(len(X), len(images.X)), meta[1])
    loaders = {f"iterator_{split}__collate_fn": images.batch for split in ("train", "valid")}
    return train, trusted, loaders


def contender(name, meta, args, loaders):
    """Net by its name, not initialised.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
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
        **loaders,
    }
    if name == "plain":
        return NeuralNetClassifier(**shared)
    shared |= {"meta": meta, "warmup_epochs": 1}
    method, *options = name.split()
    if method == "authors":
        passes = "lean" if options[:1] == ["lean"] else "released"
        sizes = options[passes == "lean" :] or [16]
        if len(sizes) == 1 and str(sizes[0]).isdigit():
            return AuthorsNet(**{**shared, "feature_layer": "head", "passes": passes, "batch_size": int(sizes[0])})
    if method in BILEVEL and options in ([], ["forward"]):
        return BILEVEL[method](**shared, forward=bool(options))
    if name in OURS:
        return OTWeightedNetClassifier(**shared, **OURS[name], feature_layer="head", weighter=OTSampleWeighter(reg=0.5))
    raise ValueError(f"There is no contender {name!r}; --help lists them.")


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
    loaders = {}
    if args.resident:
        X, meta, loaders = resident(X, y, meta, args.device)
        y = None  # comes with X
    nets = {name: contender(name, meta, args, loaders) for name in dict.fromkeys(["plain", *args.contenders])}
    for net in nets.values():  # stage 1, first refit, and whatever is done once
        for _ in range(2):
            net.partial_fit(X, y)
    names = list(nets)
    seconds = {name: [] for name in names}
    for i in range(args.rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            seconds[name].append(one_epoch(nets[name], X, y))
        if args.out:  # each round, lest all is lost when time runs out
            args.out.write_text(json.dumps(summary(seconds)))
    return {name: np.array(values) for name, values in seconds.items()}


def summary(seconds):
    """{name: median seconds and median ratio to plain}."""
    plain = np.array(seconds["plain"])
    return {
        name: {"seconds": float(np.median(values)), "x plain": float(np.median(np.array(values) / plain))}
        for name, values in seconds.items()
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--n-samples", type=int, default=2000, help="training images (default: 2000)")
    parser.add_argument("--imbalance", type=float, default=100, help="most to least frequent class (default: 100)")
    parser.add_argument("--width", type=int, default=8, help="channels of the first stage (default: 8)")
    parser.add_argument("--depth", type=int, default=1, help="blocks per stage (default: 1, a ResNet-8)")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9, help="epochs of each contender (default: 9)")
    parser.add_argument("--contenders", nargs="+", default=DEFAULT, metavar="NAME", help="beside plain, in this order")
    parser.add_argument("--resident", action="store_true", help="keep the images on the device")
    parser.add_argument("--out", type=Path, help="JSON file for the medians")
    args = parser.parse_args(argv)
    seconds = run(args)
    print(
        f"{args.device}, {torch.get_num_threads()} threads: {args.n_samples} images of 32 x 32, "
        f"ResNet-{6 * args.depth + 2} of width {args.width}, batches of {args.batch_size}, "
        f"{N_CLASSES * N_TRUSTED} trusted, {args.rounds} rounds"
    )
    print(f"{'':<18}{'s per epoch':>12}{'x plain':>9}   quartiles")
    for name, values in seconds.items():
        low, middle, high = np.quantile(values / seconds["plain"], [0.25, 0.5, 0.75])
        target = TARGETS.get(name, {}).get(args.device)
        note = "" if target is None else f"   target at most {target}"
        print(f"{name:<18}{np.median(values):>12.3f}{middle:>9.3f}   {low:.3f} to {high:.3f}{note}")
    return seconds


if __name__ == "__main__":
    main()
