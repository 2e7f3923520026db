"""One of several processes of a training run on CPUs: run by test_distributed.py, writes what it found to a file."""

import os
import sys

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from skotw import OTSampleWeighter
from skotw.deep import OTReweighter, OTWeightedNetClassifier
from tests.deep._nets import META, Net, blobs

X, y = blobs((90, 31, 15))

# What the reweighter must get right, by name; the last one learns everything from the data.
SETTINGS = {
    "plain": {"reg": 0.2},
    "unscaled": {"reg": 0.1, "embedding": None, "prior": "uniform"},
    "euclidean": {"reg": 0.2, "metric": "euclidean"},
    "hard": {"reg": 0.2, "label_cost": "hard"},
    "auto": {},
}


def shard():
    """Rows of this process: one class lies in the first alone, and the shares are unequal."""
    mine = np.arange(len(y)) % 3 == 0
    mine = mine | (y == 2)
    return np.flatnonzero(mine if dist.get_rank() == 0 else ~mine)


def reweigh():
    """Weights of this process's rows, and how many numbers of what shape were sent for them."""
    rows = shard()
    found = {"rows": rows}
    sent, all_reduce = [], dist.all_reduce

    def counting(tensor, *args, **kwargs):
        sent.append(tensor.numel())
        return all_reduce(tensor, *args, **kwargs)

    dist.all_reduce = counting
    for name, params in SETTINGS.items():
        sent.clear()
        reweighter = OTReweighter(OTSampleWeighter(**params), distributed=True)
        tensors = [torch.as_tensor(part) for part in (X[rows], y[rows], *META)]
        found[name] = reweighter.refit(*tensors).numpy()
        found[f"again_{name}"] = reweighter.weigh(tensors[0], tensors[1]).numpy()
        found[f"sent_{name}"] = sum(sent)
        found[f"reg_{name}"] = reweighter.weighter_.reg_
    dist.all_reduce = all_reduce
    return found


def train():
    """Weights and predictions of a net trained by accelerate."""
    from accelerate import Accelerator
    from skorch.hf import AccelerateMixin

    class CPUs(Accelerator):
        """On CPUs accelerate wraps a criterion without parameters too, which torch refuses; on GPUs it does not."""

        def prepare_model(self, model, **kwargs):
            return super().prepare_model(model, **kwargs) if list(model.parameters()) else model

    class AcceleratedNet(AccelerateMixin, OTWeightedNetClassifier):
        pass

    found = {}
    for name, params in {
        "net": {"meta": META, "features": "clean"},
        "cached": {"meta": META},
        "drawn": {"meta": 4, "features": "clean"},
        "batch": {"meta": META, "refit_every": "batch"},
        "loss": {"meta": META, "meta_loss_weight": 1.0},
    }.items():
        torch.manual_seed(0)
        net = AcceleratedNet(
            Net,
            accelerator=CPUs(cpu=True),
            feature_layer="head",
            weighter=OTSampleWeighter(reg=0.2),
            warmup_epochs=1,
            max_epochs=3,
            criterion=nn.CrossEntropyLoss,
            lr=0.1,
            batch_size=16,
            train_split=None,
            verbose=0,
            device=None,
            **params,
        ).fit(X, y)
        found[f"{name}_weight"] = net.sample_weight_
        found[f"{name}_state"] = torch.cat([p.flatten() for p in net.module_.parameters()]).detach().numpy()
        module = net.module_.eval()
        for part, data in (("train", X), ("meta", META[0])):
            found[f"{name}_{part}"] = module.body(torch.as_tensor(data)).detach().numpy()
        found[f"{name}_trusted"] = net.criterion_.sample_weights.trusted.numpy()
        found[f"{name}_size"] = net.history[:, "weight_ess"]
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = reweigh()
    if "--train" in sys.argv:
        found |= train()
    np.savez(f"{sys.argv[1]}/{os.environ['RANK']}.npz", **found)
    dist.destroy_process_group()
