r"""Weights in a deep network on CIFAR-10 with a long tail: plain, deferred balanced, and by optimal transport.

    python benchmarks/cifar_long_tailed.py --data FOLDER                 # about an hour on two cores
    python benchmarks/cifar_long_tailed.py --data FOLDER --report        # the table of what has been run
    python benchmarks/cifar_long_tailed.py --data FOLDER --device cuda --graphs --jobs 8 --depth 5 \
        --imbalance 100 200 50 20 --stage-1 24 --stage-2 9 --minutes 5

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

Images stay on the device, where batches are gathered and augmented. Runs take turns in ``--jobs`` processes: those of
the first imbalance and share of wrong labels first, and ``--minutes`` begins none that would not end in time.

Every run is written to ``benchmarks/results/cifar.jsonl`` and not repeated. The table has the accuracy on the test set
after the last epoch, mean and standard deviation over seeds, and the share of pairs of a right and a wrong label of one
class in which the right one weighs more. The last tenth of the test images of each class, *dev*, are for comparing
settings with each other, and are not in *test*.
"""

import argparse
import functools
import gc
import itertools
import json
import math
import multiprocessing
import os
import tempfile
import time
import traceback
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _contenders import AuthorsNet, LearningToReweight, MetaWeightNet
from _images import N_CLASSES, ImageRows, Images, load_long_tailed_cifar, toy_images
from _networks import ResNet
from skorch.callbacks import Callback
from skorch.history import History
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


class Cell(NamedTuple):
    """What the runs of one stage 1 have in common."""

    imbalance: float
    flip: float
    seed: int

    def labels(self, y):
        """Labels, some of them wrong, and which."""
        return flip_labels(y, self.flip, random_state=self.seed, return_mask=True)


class Sets(NamedTuple):
    """Images on the device, and which of them are what."""

    images: Images
    train: ImageRows
    meta: ImageRows
    test: ImageRows


@functools.lru_cache(1)
def load(data, imbalance, device):
    parts = toy_images(imbalance) if data == "toy" else load_long_tailed_cifar(data, imbalance)
    ends = np.cumsum([0] + [len(y) for _, y in parts.values()])
    sets = {name: ImageRows(np.arange(a, b), parts[name][1]) for name, a, b in zip(parts, ends, ends[1:], strict=False)}
    return Sets(Images(np.concatenate([X for X, _ in parts.values()]), device), **sets)


def training(sets, args):
    """What all nets have in common."""
    return {
        "meta": sets.meta,
        "classes": range(N_CLASSES),
        "criterion": nn.CrossEntropyLoss,
        "optimizer__momentum": 0.9,
        "optimizer__nesterov": True,
        "optimizer__weight_decay": 5e-4,
        "batch_size": 128,
        "iterator_train__shuffle": True,
        "iterator_train__collate_fn": sets.images.augmented,
        "iterator_valid__collate_fn": sets.images.batch,
        "iterator_valid__batch_size": 1000,
        "train_split": None,
        "callbacks": [LearningRate(args.stage_1, args.stage_2)],
        "device": args.device,
        "verbose": 0,
    }


def our_net(sets, args, **params):
    """Our net; every call of ``partial_fit`` is an epoch."""
    module = ResNet(args.width, args.depth, bfloat16=args.bfloat16)
    stages = {"feature_layer": "head", "warmup_epochs": args.stage_1, "max_epochs": 1}
    net = OTWeightedNetClassifier(module, **stages, **training(sets, args), **params).initialize()
    if args.graphs:
        full, n = net.batch_size, len(sets.train)
        net.module_.capture({min(full, n), n % full, min(full, len(sets.meta))} - {0})
    return net


def state_of(net):
    return {
        "module": net.module_.state_dict(),
        "criterion": net.criterion_.state_dict(),  # what was read of the labels
        "optimizer": net.optimizer_.state_dict(),
        "history": net.history.to_list(),
    }


def go_on(net, state):
    """The net as another one was when it had this state."""
    net.module_.load_state_dict(state["module"])
    if isinstance(net, OTWeightedNetClassifier):
        net.criterion_.load_state_dict(state["criterion"])
    net.optimizer_.load_state_dict(state["optimizer"])
    net.history = History(state["history"])
    return net


def prepare(args):
    """Set the process up, and free what the last net held: graphs refer to themselves, and own much of the device."""
    torch.set_num_threads(args.threads)
    gc.collect()
    if args.device == "cuda":
        torch.cuda.empty_cache()


def stage_1(cell, start, args):
    """The state before the last epoch of stage 1, at whose end weights are learned for the first time, to a file."""
    prepare(args)
    torch.manual_seed(cell.seed)
    sets = load(args.data, cell.imbalance, args.device)
    net = our_net(sets, args)
    train = ImageRows(sets.train.rows, cell.labels(sets.train.y)[0])
    for _ in range(args.stage_1 - 1):
        net.partial_fit(train)
    torch.save(state_of(net), start)


def stage_2(start, sets, train, seed, method, meta_loss, args):
    """A net that has gone on from ``start``."""
    state = torch.load(start, map_location=args.device, weights_only=False)
    params = {} if method in OTHERS else {"meta_loss_weight": meta_loss, **weights(method)}
    net = go_on(our_net(sets, args, **params), state)
    torch.manual_seed(1000 + seed)
    net.partial_fit(train)  # ends stage 1
    if method in OTHERS:
        net = other(net, sets, method, args)
    for _ in range(args.stage_2):
        net.partial_fit(train)
    return net


def other(net, sets, method, args):
    """A net of another method with the parameters, the momentum and the epochs of ``net``."""
    cls, params = OTHERS[method]
    module = ResNet(args.width, args.depth, bfloat16=args.bfloat16)  # their passes are no fixed graph
    new = cls(module, max_epochs=1, **{**training(sets, args), **params}).initialize()
    return go_on(new, state_of(net))


def run(cell, start, method, meta_loss, args):
    """What a method comes to."""
    prepare(args)
    sets = load(args.data, cell.imbalance, args.device)
    y, wrong = cell.labels(sets.train.y)
    net = stage_2(start, sets, ImageRows(sets.train.rows, y), cell.seed, method, meta_loss, args)
    rank, y_test = np.empty(len(sets.test), int), sets.test.y
    for k in range(N_CLASSES):
        rank[y_test == k] = np.arange(np.sum(y_test == k))
    dev = rank >= 0.9 * np.bincount(y_test)[y_test]
    right = net.predict(sets.test) == y_test
    w = net.weights_.cpu().numpy() if method in OTHERS else net.sample_weight_
    result = {
        "test": float(right[~dev].mean()),
        "dev": float(right[dev].mean()),
        "per_class": [float(right[~dev & (y_test == k)].mean()) for k in range(N_CLASSES)],
        "auc": float(mislabel_auc(w, y, wrong)) if cell.flip else None,
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
    return result


# ---------------------------------------------------------------------------------------------
# Which runs, and when


def run_all(args):
    """Run what has not been run, cell by cell in the order asked for, as far as the time reaches."""
    deadline = time.monotonic() + 60 * args.minutes
    order = itertools.product(args.seeds, args.imbalance, args.flip)
    cells = [Cell(imbalance, flip, seed) for seed, imbalance, flip in order]
    known = done(args)
    todo = {cell: [pair for pair in runs(args) if key(cell, *pair, args) not in known] for cell in cells}
    with tempfile.TemporaryDirectory() as folder, workers(args) as pool:
        starts = {cell: Path(folder, f"{i}.pt") for i, cell in enumerate(cells) if todo[cell]}
        waiting, running, longest = list(starts), {}, {}
        ready = []  # stages 2, in the order of the cells
        while True:
            while len(running) < args.jobs and (waiting or ready):
                kind = 2 if ready else 1
                if time.monotonic() + longest.get(kind, 0.0) > deadline:
                    waiting, ready = [], []
                    break
                if ready:
                    cell, pair = ready.pop(0)
                    future = pool.submit(run, cell, starts[cell], *pair, args)
                else:
                    cell, pair = waiting.pop(0), None
                    future = pool.submit(stage_1, cell, starts[cell], args)
                running[future] = cell, pair, time.monotonic()
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell, pair, began = running.pop(future)
                if future.exception() is not None:  # the others go on
                    print(f"failed: {cell}, {pair or 'stage 1'}", flush=True)
                    traceback.print_exception(future.exception())
                    continue
                result, kind = future.result(), 1 if pair is None else 2
                longest[kind] = max(longest.get(kind, 0.0), time.monotonic() - began)
                if pair is None:
                    ready = sorted(ready + [(cell, pair) for pair in todo[cell]], key=lambda one: cells.index(one[0]))
                else:
                    keep(cell, *pair, result, args)


@contextmanager
def workers(args):
    """Processes that run what is submitted; of one job this process."""
    if args.jobs == 1:
        yield InThisProcess()
        return
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # of what they start with
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


class InThisProcess:
    def submit(self, function, *args):
        future = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def keep(cell, method, meta_loss, result, args):
    record = {"key": key(cell, method, meta_loss, args), **result}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(f"{record['key']}: test {result['test']:.3f}, {result['seconds_per_epoch']:.2f} s per epoch", flush=True)


def key(cell, method, meta_loss, args):
    """Names a run."""
    setting = f"IF {cell.imbalance:g}, width {args.width}, depth {args.depth}, {args.stage_1}+{args.stage_2} epochs"
    return f"{setting}, {cell.flip:.0%} flipped, seed {cell.seed}, {method}, meta loss {factor(meta_loss)}"


def factor(meta_loss):
    return "own" if meta_loss is None else f"{meta_loss:g}"


def done(args):
    """{key: result} of what has been run."""
    if not args.out.exists():
        return {}
    records = [json.loads(line) for line in args.out.read_text().splitlines()]
    return {record.pop("key"): record for record in records}


def report(args):
    """Print the table."""
    found = done(args)
    print(f"accuracy after the last epoch, mean and standard deviation of seeds {args.seeds}")
    print(
        f"{'imbalance':>9} {'flipped':>7} {'weights':<10} {'meta loss':>9} {'test':>15} {'dev':>7} {'rarest 3':>9} "
        f"{'right > wrong':>14}"
    )
    for imbalance, flip, (method, meta_loss) in itertools.product(args.imbalance, args.flip, runs(args)):
        cells = [Cell(imbalance, flip, seed) for seed in args.seeds]
        results = [found.get(key(cell, method, meta_loss, args)) for cell in cells]
        results = [result for result in results if result is not None]
        if not results:
            continue
        test, dev = ([result[name] for result in results] for name in ("test", "dev"))
        spread = f"+- {np.std(test, ddof=1):.3f}" if len(results) > 1 else ""
        rare = np.mean([result["per_class"][-3:] for result in results])
        auc = f"{np.mean([result['auc'] for result in results]):.3f}" if flip else ""
        short = "" if len(results) == len(args.seeds) else f"  ({len(results)} of {len(args.seeds)} seeds)"
        print(
            f"{imbalance:>9g} {flip:>7.0%} {method:<10} {factor(meta_loss):>9} {np.mean(test):>6.3f} {spread:>8} "
            f"{np.mean(dev):>7.3f} {rare:>9.3f} {auc:>14}{short}"
        )


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("SKOTW_DATA"), help='folder of the data set, or "toy"')
    parser.add_argument("--imbalance", type=float, nargs="+", default=[100.0])
    parser.add_argument("--flip", type=float, nargs="+", default=[0.0, 0.3], help="shares of wrong labels")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["plain", "balanced", "OT 0.05", "OT 0.1"])
    parser.add_argument("--meta-loss", type=float, nargs="+", default=[0.0, 1.0], help="factors of the meta loss")
    parser.add_argument("--stage-1", type=int, default=16, help="epochs")
    parser.add_argument("--stage-2", type=int, default=6, help="epochs")
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage (default: 16)")
    parser.add_argument("--depth", type=int, default=1, help="blocks per stage (default: 1, a ResNet-8)")
    parser.add_argument("--no-bfloat16", dest="bfloat16", action="store_false", help="compute in float32")
    parser.add_argument("--graphs", action="store_true", help="replay training passes on a GPU as CUDA graphs")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process (default: 1)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no run that would end after that")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the results")
    parser.add_argument("--report", action="store_true", help="run nothing")
    return parser.parse_args(argv)


def main(argv=None):
    """Run, and print the table."""
    args = parse(argv)
    if args.data is None and not args.report:
        raise SystemExit("No data: pass --data, or set SKOTW_DATA to, the folder of the data set.")
    try:
        if not args.report:
            run_all(args)
    finally:
        report(args)


if __name__ == "__main__":
    main()
