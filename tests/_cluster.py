"""Weights on a cluster of two worker processes, one of which dies: run by test_dask.py, writes what it found."""

import os
import signal
import sys
from pathlib import Path

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

from skotw import OTSampleWeighter
from skotw.dask import DaskSampleWeighter


def dying(block, folder=None, at=None, block_info=None):
    """Rows whose third chunk ends the process that reads it, the time that ``at`` says."""
    if block_info and block_info[0]["chunk-location"][0] == 2:
        time = len(list(folder.iterdir()))
        folder.joinpath(str(time)).touch()
        if time == at:
            os.kill(os.getpid(), signal.SIGKILL)
    return block


def main(path):
    found, sets = {}, np.load(path / "sets.npz")
    X, y = da.from_array(sets["X"], chunks=(90, -1)), da.from_array(sets["y"], chunks=90)
    settings = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    with LocalCluster(**settings) as cluster, Client(cluster):
        # a chunk is read for the sample, to be learned and to be weighed
        for name, at in (("alive", None), ("dies", 1)):
            folder = path / name
            folder.mkdir()
            rows = X.map_blocks(dying, folder=folder, at=at, meta=np.empty((0, 0)))
            weighter = DaskSampleWeighter(OTSampleWeighter(), sample_size=100, random_state=0)
            weighter.fit(rows, y, sets["X_meta"], sets["y_meta"])
            found[name] = weighter.sample_weight_.compute()
            found[f"{name}: reads"] = len(list(folder.iterdir()))
        try:
            weighter.fit(X, y, sets["X_meta"], sets["y_meta"], sample_weight=-(y + 1.0))
        except ValueError as error:
            found["error"] = "\n".join([str(error), *error.__notes__])
    np.savez(path / "found.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
