"""
Can a network that reads texts be weighed?
==========================================

Yes, if it can say what its features of a text are. Which part of SciPy does a docstring document? The texts are those
of the installed package, and so is their imbalance: ``scipy.stats`` has several times as many as ``scipy.integrate``.
Three in ten training labels are wrong, and five texts of each class are trusted. The network takes token ids, as
tokenisers give them. After every epoch it refits its weights, by optimal transport between its features of the
training texts and those of the trusted ones.

Three runs share everything but the weights after the first epochs: *plain*, *balanced* and *skotw*. A fourth learns
from the *trusted* texts *only*, for as many steps. Training, table and picture are in ``_network_runs.py`` beside this
file.
"""

import ast
import re
from collections import Counter
from pathlib import Path

import numpy as np
import scipy
from _network_runs import compare, picture, print_table
from sklearn.model_selection import train_test_split
from torch import nn

from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split

# %%
# The data
# --------
# Docstrings are read from the source files, without tests and without the names of the parts, and each text counts
# once. Another version of SciPy has slightly other texts. Half of them are the test set. Nothing is chosen by it: the
# last epoch counts.

PARTS = ["stats", "optimize", "signal", "sparse", "interpolate", "special", "io", "linalg", "spatial", "integrate"]
N_TOKENS = 4000


def docstrings(part):
    """The words of every docstring in a part of SciPy."""
    texts = {}
    for path in sorted((Path(scipy.__file__).parent / part).rglob("*.py")):
        if "tests" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    words = re.findall("[a-z]{2,}", (ast.get_docstring(node) or "").lower())
                    texts[tuple(word for word in words if word not in PARTS)] = None
    return [words for words in texts if len(words) >= 8]


def token_ids(texts, vocabulary, length=64):
    """What a tokeniser returns: ids, 0 for padding and 1 for unknown words, and which of them are tokens."""
    ids = np.zeros((len(texts), length), dtype=np.int64)
    for row, words in zip(ids, texts, strict=True):
        found = [vocabulary.get(word, 1) for word in words[:length]]
        row[: len(found)] = found
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.float32)}


TEXTS = [(words, c) for c, part in enumerate(PARTS) for words in docstrings(part)]
print(len(TEXTS), "texts:", ", ".join(f"{PARTS[c]} {n}" for c, n in Counter(c for _, c in TEXTS).items()))


def documents(seed):
    """Training texts and which of their labels are wrong, trusted texts, test texts."""
    y = np.array([c for _, c in TEXTS])
    rows, rows_test = train_test_split(np.arange(len(y)), test_size=0.5, stratify=y, random_state=seed)
    rows, _, rows_meta, _ = balanced_meta_split(rows, y[rows], n_per_class=5, random_state=seed)
    common = Counter(word for i in rows for word in TEXTS[i][0]).most_common(N_TOKENS - 2)
    vocabulary = {word: i for i, (word, _) in enumerate(common, start=2)}
    X, X_meta, X_test = (token_ids([TEXTS[i][0] for i in part], vocabulary) for part in (rows, rows_meta, rows_test))
    y_train, wrong = flip_labels(y[rows], 0.3, random_state=seed, return_mask=True)
    return X, y_train, wrong, (X_meta, y[rows_meta]), (X_test, y[rows_test])


# %%
# The network
# -----------
# The mean of the embeddings of the tokens, without padding, goes through one hidden layer. The module takes the entries
# of the dictionary by name, and what goes into its ``head`` are the features of a text.


class Bag(nn.Module):
    """An embedding bag, a hidden layer and a linear head."""

    def __init__(self, width=64):
        super().__init__()
        self.bag = nn.EmbeddingBag(N_TOKENS, width, mode="sum", padding_idx=0)
        self.hidden = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, width), nn.ReLU())
        self.head = nn.Linear(width, len(PARTS))

    def forward(self, input_ids, attention_mask):
        share = attention_mask / attention_mask.sum(1, keepdim=True)
        return self.head(self.hidden(self.bag(input_ids, per_sample_weights=share)))


# %%
# Three runs
# ----------
# The learning rate was chosen on other seeds than those below, by the last epoch of the plain run.

runs = compare(Bag, documents, seeds=range(2), warmup=5, epochs=20)
print_table(runs)

# %%
# Left: the plain and the balanced run get worse in the end, when the network begins to learn the mistakes. Trusted
# texts alone are far too few for a network that learns its words from nothing. Right, of the last seed: the weights of
# right and of wrong labels relative to the mean of their class. The network is not told which labels are wrong.

figure = picture(runs)
