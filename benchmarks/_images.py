"""CIFAR-10 with a long tail, from either of two formats; images that stay on a device, and their augmentation."""

import functools
import io
import itertools
import pickle
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

__all__ = ["ImageRows", "Images", "load_long_tailed_cifar", "toy_images"]

N_CLASSES, N_META, N_MOST = 10, 10, 4990
_MEAN, _STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)  # of CIFAR-10's training images


def load_long_tailed_cifar(folder, imbalance):
    """Training, meta and test images with labels, the paper's protocol.

    Of each class in file order the first 10 training images are the meta set, and the next
    ``int(4990 * imbalance ** (-k / 9))`` those of class k = 0, ..., 9 the training set. The test set is whole.

    Parameters
    ----------
    folder : path
        Holds ``cifar-10-batches-py``, as torchvision unpacks it, or ``cifar10_lt.npz``: the same images of imbalance
        10, grouped by class, as lossless WebP.
    imbalance : float
        Images of the most over those of the least frequent class; the second format goes down to 10.

    Returns
    -------
    parts : dict of (X, y)
        "train", "meta" and "test"; X is float32 of shape (n, 3, 32, 32), standardised by channel.
    """
    parts = _read(Path(folder))
    X, y = parts["train"]
    kept = []
    for k in range(N_CLASSES):
        rows, n = np.flatnonzero(y == k), int(N_MOST * imbalance ** (-k / (N_CLASSES - 1)))
        if len(rows) < n:
            raise SystemExit(f"{folder} has {len(rows)} training images of class {k}; imbalance {imbalance} needs {n}.")
        kept.append(rows[:n])
    kept = np.concatenate(kept)
    parts = parts | {"train": (X[kept], y[kept])}
    return {name: (_standardise(X), y.astype(np.int64)) for name, (X, y) in parts.items()}


def toy_images(imbalance):
    """Parts of the same form: a few made-up images, whose mean tells the class."""
    rng = np.random.default_rng(0)
    classes = np.arange(N_CLASSES)
    numbers = {"train": np.maximum(60 * imbalance ** (-classes / (N_CLASSES - 1)), 2).astype(int)}
    numbers |= {"meta": np.full(N_CLASSES, N_META), "test": np.full(N_CLASSES, 20)}
    parts = {}
    for name, n in numbers.items():
        y = np.repeat(classes, n)
        X = rng.normal(size=(len(y), 3, 32, 32)) + (y[:, None] * [0.3, -0.3, 0.1])[:, :, None, None]
        parts[name] = X.astype(np.float32), y
    return parts


@functools.lru_cache(1)
def _read(folder):
    """{part: (uint8 images, labels)}, kept for the next imbalance."""
    if (folder / "cifar-10-batches-py").is_dir():
        parts = _of_batches(folder / "cifar-10-batches-py")
    elif (folder / "cifar10_lt.npz").is_file():
        parts = _of_webp(folder / "cifar10_lt.npz")
    else:
        raise SystemExit(f"{folder} has neither cifar-10-batches-py/ nor cifar10_lt.npz: name the folder by --data.")
    return parts


def _of_webp(path):
    from PIL import Image

    parts = {}
    with np.load(path, allow_pickle=False) as file:
        for name in ("train", "meta", "test"):
            data, cuts = file[f"{name}_webp"].tobytes(), file[f"{name}_offsets"]
            images = [Image.open(io.BytesIO(data[a:b])) for a, b in itertools.pairwise(cuts)]
            parts[name] = np.stack([np.asarray(image.convert("RGB")) for image in images]), file[f"{name}_y"]
    return parts


def _of_batches(folder):
    def read(names):
        batches = [pickle.loads((folder / name).read_bytes(), encoding="bytes") for name in names]
        X = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
        return X.transpose(0, 2, 3, 1), np.concatenate([batch[b"labels"] for batch in batches])

    X, y = read([f"data_batch_{i}" for i in range(1, 6)])
    rows = [np.flatnonzero(y == k) for k in range(N_CLASSES)]
    meta, train = (np.concatenate([r[part] for r in rows]) for part in (slice(N_META), slice(N_META, None)))
    return {"train": (X[train], y[train]), "meta": (X[meta], y[meta]), "test": read(["test_batch"])}


def _standardise(X):
    X = (X / np.float32(255) - np.float32(_MEAN)) / np.float32(_STD)
    return np.ascontiguousarray(X.transpose(0, 3, 1, 2))


class Images:
    """Images that stay on one device, where batches are gathered; loaders pass their numbers around in place of them.

    A loader that fetches and stacks single images takes longer on a GPU than a small network does with them.

    Parameters
    ----------
    X : array of shape (n, channels, size, size)
    device : str
    """

    def __init__(self, X, device):
        self.X = torch.as_tensor(X, device=device)

    def batch(self, samples):
        """Collate (number, label) pairs: images, and labels on their device."""
        rows, labels = torch.tensor(list(zip(*samples, strict=True)), device=self.X.device)
        return [self.X[rows], labels]

    def augmented(self, samples):
        """The same; each image is shifted by up to an eighth of it and mirrored or not, at random."""
        X, labels = self.batch(samples)
        n, size, on = len(X), X.shape[-1], {"device": X.device}
        margin = size // 8
        padded = torch.nn.functional.pad(X, (margin,) * 4)
        offsets, mirrored = torch.randint(2 * margin + 1, (2, n, 1), **on), torch.rand(n, 1, **on) < 0.5
        columns = torch.where(mirrored, torch.arange(size - 1, -1, -1, **on), torch.arange(size, **on))
        down, right = torch.arange(size, **on) + offsets[0], columns + offsets[1]
        places = ((size + 2 * margin) * down[:, :, None] + right[:, None, :]).reshape(n, 1, -1)
        return [padded.flatten(2).gather(2, places.expand(-1, X.shape[1], -1)).view_as(X), labels]


class ImageRows(Dataset):
    """Numbers of some :class:`Images`, with labels ``y``."""

    def __init__(self, rows, y):
        self.rows, self.y = np.asarray(rows), np.asarray(y)
        self._pairs = list(zip(self.rows.tolist(), self.y.tolist(), strict=True))

    def __len__(self):
        return len(self._pairs)

    def __getitem__(self, index):
        return self._pairs[index]

    def __getitems__(self, indices):
        return [self._pairs[index] for index in indices]
