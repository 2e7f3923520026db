"""
Rows that fit into no memory
============================

Parquet files are weighed where they lie and a linear classifier is trained on them, both chunk by chunk: the memory
holds a few chunks, whatever the number of rows. Three in ten labels are wrong, and one class is rare. dask reads the
files with as many threads as asked for and shows its bar.

Small by default; ten million rows take a few minutes and a gigabyte of disk::

    python examples/weigh_parquet.py --rows 10_000_000
"""

import argparse
import resource
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.diagnostics import ProgressBar
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import balanced_accuracy_score

from skotw.dask import DaskSampleWeighter
from skotw.datasets import flip_labels

N_FEATURES, SHARES = 20, (0.80, 0.17, 0.03)
FEATURES = [f"x{j}" for j in range(N_FEATURES)]
CENTRES = np.random.default_rng(0).normal(scale=0.7, size=(3, N_FEATURES))


def draw(y, seed):
    """Rows of some classes."""
    noise = np.random.default_rng(seed).normal(size=(len(y), N_FEATURES))
    return pd.DataFrame((CENTRES[y] + noise).astype(np.float32), columns=FEATURES)


def write(folder, n_rows, chunk):
    """Files of ``chunk`` rows each, whose labels are wrong three times in ten."""
    for number, start in enumerate(range(0, n_rows, chunk)):
        rng = np.random.default_rng(number)
        y = rng.choice(3, size=min(chunk, n_rows - start), p=SHARES)
        draw(y, number).assign(label=flip_labels(y, 0.3, random_state=number)).to_parquet(
            folder / f"{number:05}.parquet", index=False
        )


def train(files, weights=None):
    """One pass of stochastic gradient descent over the files, in a random order of their rows."""
    model = SGDClassifier(loss="log_loss", alpha=1e-4, average=True, random_state=0)
    for number, file in enumerate(files):
        rows = pd.read_parquet(file)
        w = np.ones(len(rows)) if weights is None else pd.read_parquet(weights[number])["sample_weight"].to_numpy()
        model.partial_fit(rows[FEATURES], rows["label"], classes=[0, 1, 2], sample_weight=w)
    return model


def peak_mib():
    """Largest resident set so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main(n_rows, chunk, n_threads, folder):
    """Write, weigh, train; returns the peak memory beside the start, in MiB."""
    for name in ("rows", "weights"):
        (folder / name).mkdir()
    y_meta, y_test = np.repeat([0, 1, 2], 50), np.repeat([0, 1, 2], 5000)
    X_meta, X_test = draw(y_meta, 10**6), draw(y_test, 10**6 + 1)
    write(folder / "rows", n_rows, chunk)
    started = peak_mib()

    begin = perf_counter()
    rows = dd.read_parquet(folder / "rows")
    weighter = DaskSampleWeighter(random_state=0)
    with dask.config.set(scheduler="threads", num_workers=n_threads), ProgressBar():
        weighter.fit(rows[FEATURES], rows["label"], X_meta, y_meta)
        weights = weighter.sample_weight_.to_frame()
        weights.to_parquet(folder / "weights", write_index=False, name_function=lambda number: f"{number:05}.parquet")
    print(f"{n_rows:,} rows weighed in {perf_counter() - begin:.1f} s, {rows.npartitions} chunks")
    print(weighter.weighter_.label_reliability_)

    begin = perf_counter()
    files, weights = (sorted((folder / name).glob("*.parquet")) for name in ("rows", "weights"))
    for name, given in (("without weights", None), ("with weights", weights)):
        accuracy = balanced_accuracy_score(y_test, train(files, given).predict(X_test))
        print(f"balanced accuracy {name}: {accuracy:.3f}")
    print(f"trained twice in {perf_counter() - begin:.1f} s")
    gained = peak_mib() - started
    print(f"peak memory {gained:.0f} MiB beside the {started:.0f} MiB of the start")
    return gained


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--chunk", type=int, default=0, help="rows of a file; a fortieth of all, 100,000 at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", help="where the files go; a temporary folder that is removed")
    args = parser.parse_args()
    chunk = args.chunk or min(100_000, args.rows // 40)
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        main(args.rows, chunk, args.threads, Path(temporary))
