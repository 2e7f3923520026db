"""Weights in a deep network on CIFAR-10 with a long tail: plain, deferred balanced, and by optimal transport.

    python benchmarks/cifar_long_tailed.py --data FOLDER                 # about an hour on two cores
    python benchmarks/cifar_long_tailed.py --data FOLDER --report        # the table of what has been run

Data: ``cifar-10-batches-py``, as torchvision unpacks it, or ``cifar10_lt.npz`` in FOLDER (or in SKOTW_DATA). Of each
class 10 training images are the meta set, and the next ones the training set, whose classes fall off exponentially
from 4990 to 4990 / ``--imbalance`` images. ``--flip`` of the training labels are replaced by another, any with equal
probability.

Protocol: stage 1, a small residual network, plain loss, ``--stage-1`` epochs of SGD at learning rate .1 (Nesterov
momentum .9, weight decay 5e-4, batches of 128, shifted and mirrored images). Stage 2, ``--stage-2`` epochs at .01 and
the last third of them at .001, goes on from there in ways that differ in the weights only:

- *plain*: all are one;
- *balanced*: by class, deferred to stage 2, as in LDAM-DRW (Cao et al., NeurIPS 2019) without the margin;
- *OT r*: optimal transport of ``reg=r``, refitted after each epoch; *OT r clean* from the features of a clean pass,
  *OT r smooth* with nine tenths of the old weights in the new ones;

each without and with the loss of the meta images (class-balanced mini-batches, factor 1) beside the weighted one. By
name in ``--methods`` there are also, each with a use of its own for the meta images,

- *MW-Net*: Meta-Weight-Net (Shu et al., NeurIPS 2019);
- *L2RW*: Learning to Reweight (Ren et al., ICML 2018);
- *authors*: stage 2 of Guo et al. (NeurIPS 2022) as released: last layer only, batches of 16, its own learning rate.

Every run is written to ``benchmarks/results/cifar.jsonl`` and not repeated. The table has the accuracy on the test set
after the last epoch, mean and standard deviation over seeds, and the share of pairs of a right and a wrong label of one
class in which the right one weighs more. The last tenth of the test images of each class, *dev*, are for comparing
settings with each other, and are not in *test*.
"""

import argparse
import itertools
import json
import os
import pickle
from pathlib import Path

import joblib
import numpy as np
import torch
from _contenders import AuthorsNet, LearningToReweight, MetaWeightNet
from _images import N_CLASSES, Augment, load_long_tailed_cifar
from _networks import ResNet
from skorch.callbacks import Callback
from torch import nn

from skotw import OTSampleWeighter
from skotw.datasets import flip_labels
from skotw.deep import OTWeightedNetClassifier
from skotw.metrics import mislabel_auc

OTHERS = {
    "MW-Net": (MetaWeightNet, {}),
    "L2RW": (LearningToReweight, {}),
    "authors": (AuthorsNet, {"feature_layer": "head", "batch_size": 16}),
}
RESULTS = Path(__file__).parent / "results" / "cifar.jsonl"


class LearningRate(Callback):
    """By epoch: .1 in stage 1, .01 in stage 2, .001 in the last third of it; the first is half as fast."""

    def __init__(self, stage_1, stage_2):
        self.stage_1, self.stage_2 = stage_1, stage_2

    def on_epoch_begin(self, net, **kwargs):
        epoch = len(net.history)
        lr = 0.05 if epoch == 1 else 0.1
        if epoch > self.stage_1:
            lr = 0.01 if epoch <= self.stage_1 + 2 * self.stage_2 // 3 else 0.001
        for group in net.optimizer_.param_groups:
            group["lr"] = lr


def runs(args):
    """(method, factor of the meta loss); None where the method has its own use for meta images."""
    pairs = itertools.product(args.meta_loss, args.methods)
    return list(dict.fromkeys((method, None if method in OTHERS else loss) for loss, method in pairs))


def weights(method):
    """Parameters of the net for a method; plain and balanced weights are limits of transport."""
    name, *words = method.split()
    if name == "plain":
        return {"weighter": OTSampleWeighter(prior="uniform", class_mass="meta", label_weight=0.0, reg=1e6)}
    if name == "balanced":
        return {"weighter": OTSampleWeighter(label_weight=1.0, reg=1.0)}
    reg, *words = words
    return {
        "weighter": OTSampleWeighter(reg=reg if reg == "auto" else float(reg)),
        "features": "clean" if "clean" in words else "cached",
        "smoothing": 0.9 if "smooth" in words else 0.0,
    }


def training(meta, args):
    """What all nets have in common."""
    return {
        "meta": meta,
        "criterion": nn.CrossEntropyLoss,
        "optimizer__momentum": 0.9,
        "optimizer__nesterov": True,
        "optimizer__weight_decay": 5e-4,
        "batch_size": 128,
        "iterator_train__shuffle": True,
        "iterator_train__collate_fn": Augment(),
        "train_split": None,
        "callbacks": [LearningRate(args.stage_1, args.stage_2)],
        "device": args.device,
        "verbose": 0,
    }


def stage_1(X, y, meta, seed, args):
    """The net before the last epoch of stage 1, at whose end weights are learned for the first time."""
    torch.manual_seed(seed)
    net = OTWeightedNetClassifier(
        ResNet(args.width, args.depth, bfloat16=args.bfloat16),
        feature_layer="head",
        warmup_epochs=args.stage_1,
        max_epochs=args.stage_1 - 1,
        **training(meta, args),
    )
    return pickle.dumps(net.partial_fit(X, y).set_params(max_epochs=1))  # a call is an epoch from here on


def stage_2(start, X, y, seed, method, meta_loss, args):
    """A net that has gone on from ``start``."""
    torch.manual_seed(1000 + seed)
    net = pickle.loads(start)
    if method not in OTHERS:
        net.set_params(meta_loss_weight=meta_loss, **weights(method))
    net.partial_fit(X, y)  # ends stage 1
    if method in OTHERS:
        net = other(net, method, args)
    for _ in range(args.stage_2):
        net.partial_fit(X, y)
    return net


def other(net, method, args):
    """A net of another method with the module, the momentum and the epochs of ``net``."""
    cls, params = OTHERS[method]
    new = cls(net.module_, max_epochs=1, **{**training(net.meta, args), **params}).initialize()
    new.optimizer_.load_state_dict(net.optimizer_.state_dict())
    new.history = net.history
    return new


def cell(flip, seed, args):
    """All methods for one seed and share of wrong labels, as far as they have not been run."""
    torch.set_num_threads(args.threads)
    todo = [run for run in runs(args) if key(flip, seed, *run, args) not in done()]
    if not todo:
        return
    parts = load_long_tailed_cifar(args.data, args.imbalance)
    (X, y_true), (X_test, y_test) = parts["train"], parts["test"]
    y, wrong = flip_labels(y_true, flip, random_state=seed, return_mask=True)
    rank = np.empty(len(y_test), int)
    for k in range(N_CLASSES):
        rank[y_test == k] = np.arange(np.sum(y_test == k))
    dev = rank >= 900
    start = stage_1(X, y, parts["meta"], seed, args)
    for method, meta_loss in todo:
        net = stage_2(start, X, y, seed, method, meta_loss, args)
        right = net.predict(X_test) == y_test
        w = net.weights_.cpu().numpy() if method in OTHERS else net.sample_weight_
        result = {
            "test": float(right[~dev].mean()),
            "dev": float(right[dev].mean()),
            "per_class": [float(right[~dev & (y_test == k)].mean()) for k in range(N_CLASSES)],
            "auc": float(mislabel_auc(w, y, wrong)) if flip else None,
            "seconds_per_epoch": float(np.median(net.history[-args.stage_2 :, "dur"])),
        }
        if method not in OTHERS:
            fitted = net.reweighter_.weighter_
            result |= {
                "ess": float(net.history[-1, "weight_ess"]),
                "reg": float(fitted.reg_),
                "reliability": float(fitted.label_reliability_.overall),
                "refit_seconds": float(np.median(net.history[-args.stage_2 :, "refit_dur"])),
            }
        record = {"key": key(flip, seed, method, meta_loss, args), **result}
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(record["key"], f"test {result['test']:.3f}, dev {result['dev']:.3f}", flush=True)


def key(flip, seed, method, meta_loss, args):
    """Names a run."""
    setting = f"IF {args.imbalance:g}, width {args.width}, depth {args.depth}, {args.stage_1}+{args.stage_2} epochs"
    return f"{setting}, {flip:.0%} flipped, seed {seed}, {method}, meta loss {factor(meta_loss)}"


def factor(meta_loss):
    return "own" if meta_loss is None else f"{meta_loss:g}"


def done():
    """{key: result} of what has been run."""
    if not RESULTS.exists():
        return {}
    records = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return {record.pop("key"): record for record in records}


def report(args):
    """Print the table."""
    found = done()
    print(f"{args.imbalance:g} to 1, accuracy after the last epoch, mean and standard deviation of seeds {args.seeds}")
    print(
        f"{'flipped':<8} {'weights':<10} {'meta loss':>9} {'test':>15} {'dev':>7} {'rarest 3':>9} {'right > wrong':>14}"
    )
    for flip, (method, meta_loss) in itertools.product(args.flip, runs(args)):
        results = [found.get(key(flip, seed, method, meta_loss, args)) for seed in args.seeds]
        results = [result for result in results if result is not None]
        if not results:
            continue
        test, dev = ([result[name] for result in results] for name in ("test", "dev"))
        spread = f"+- {np.std(test, ddof=1):.3f}" if len(results) > 1 else ""
        rare = np.mean([result["per_class"][-3:] for result in results])
        auc = f"{np.mean([result['auc'] for result in results]):.3f}" if flip else ""
        short = "" if len(results) == len(args.seeds) else f"  ({len(results)} seeds)"
        print(
            f"{flip:<8.0%} {method:<10} {factor(meta_loss):>9} {np.mean(test):>6.3f} {spread:>8} {np.mean(dev):>7.3f} "
            f"{rare:>9.3f} {auc:>14}{short}"
        )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("SKOTW_DATA"), help="folder of the data set")
    parser.add_argument("--imbalance", type=float, default=100)
    parser.add_argument("--flip", type=float, nargs="+", default=[0.0, 0.3], help="shares of wrong labels")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["plain", "balanced", "OT 0.05", "OT 0.1"])
    parser.add_argument("--meta-loss", type=float, nargs="+", default=[0.0, 1.0], help="factors of the meta loss")
    parser.add_argument("--stage-1", type=int, default=16, help="epochs")
    parser.add_argument("--stage-2", type=int, default=6, help="epochs")
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage (default: 16)")
    parser.add_argument("--depth", type=int, default=1, help="blocks per stage (default: 1, a ResNet-8)")
    parser.add_argument("--no-bfloat16", dest="bfloat16", action="store_false", help="compute in float32")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process (default: 1)")
    parser.add_argument("--report", action="store_true", help="run nothing")
    args = parser.parse_args(argv)
    if not args.report:
        if args.data is None:
            raise SystemExit("No data: pass --data, or set SKOTW_DATA to, the folder of the data set.")
        cells = [joblib.delayed(cell)(flip, seed, args) for flip, seed in itertools.product(args.flip, args.seeds)]
        joblib.Parallel(args.jobs, backend="multiprocessing")(cells)
    report(args)


if __name__ == "__main__":
    main()
