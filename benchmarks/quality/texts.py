"""Texts with labels: as token ids for networks, and as numeric columns for the other classifiers."""

import zlib
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from skotw.datasets import make_long_tailed

from .task import N_TRUSTED, Task, at_most, given_labels, trusted_count

__all__ = ["N_TOKENS", "as_columns", "as_tokens", "text_loaders", "text_task"]

N_TOKENS, MAX_LENGTH, N_COLUMNS = 20_000, 48, 100
LONG_TAILED = {"sst2": 10}  # imbalance that is made; question types have one of their own
CLASS_WORDS = ("stone moss cliff sand", "rain cloud storm mist", "bread honey plum rice")
WORDS = ["the", "a", "of", "near", "with", "old", "bright", "every", "some", "from", "grey", "under"]


def text_loaders(folder=None):
    """{name: function that gives ((texts, y), (test texts, y)) and the imbalance to make or None}."""
    if folder is None:
        return {"made-up sentences": (made_up, 5)}
    paths = sorted(path.parent for path in (Path(folder) / "text").glob("*/train.tsv"))
    if not paths:
        raise SystemExit(f"{folder} has no text/*/train.tsv: name another folder by --data, or none for bundled data.")
    return {path.name: (partial(read_texts, path), LONG_TAILED.get(path.name)) for path in paths}


@lru_cache(maxsize=2)
def read_texts(folder):
    test = folder / "test.tsv"
    return _read_tsv(folder / "train.tsv"), _read_tsv(test if test.exists() else folder / "dev.tsv")


def _read_tsv(path):
    """``label TAB text``, or GLUE's ``sentence TAB label`` under a header."""
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line]
    if lines[0] == ["sentence", "label"]:
        lines = [(label, text) for text, label in lines[1:]]
    labels, texts = zip(*lines, strict=True)
    return np.array(texts, dtype=object), np.array(labels, dtype=int)


def made_up():
    rng = np.random.default_rng(0)

    def sentences(n):
        y = np.arange(n) % len(CLASS_WORDS)
        drawn = [[*rng.choice(WORDS, 5), *rng.choice(CLASS_WORDS[label].split(), 2)] for label in y]
        return np.array([" ".join(rng.permutation(words)) for words in drawn], dtype=object), y

    return sentences(450), sentences(150)


def text_task(load, imbalance, noise, rows, seed):
    """Task whose rows are texts."""
    (X, y), (X_test, y_test) = load()
    order = np.random.default_rng([seed, 0]).permutation(len(y))
    X, y = X[order], y[order]
    n = trusted_count(y, N_TRUSTED)
    trusted = np.concatenate([np.flatnonzero(y == c)[:n] for c in range(int(y.max()) + 1)])
    train = np.setdiff1d(np.arange(len(y)), trusted)
    if imbalance:
        train, _ = make_long_tailed(train, y[train], imbalance, class_order="frequency", random_state=seed)
    train = np.concatenate(at_most(rows, [train[y[train] == c] for c in range(int(y.max()) + 1)]))
    given = given_labels(y[train], noise, seed)
    return Task(X[train], given, y[train], X[trusted], y[trusted], X_test, y_test, seed)


def as_tokens(task):
    """The task with rows of token ids, 0 where a text has ended."""
    return _with_rows(task, _token_ids)


def _token_ids(texts):
    ids = np.zeros((len(texts), MAX_LENGTH), dtype=np.int64)
    for row, text in zip(ids, texts, strict=True):
        tokens = [1 + zlib.crc32(word.encode()) % (N_TOKENS - 1) for word in text.lower().split()[:MAX_LENGTH]]
        row[: len(tokens)] = tokens
    return ids


def as_columns(task):
    """The task with rows of latent semantic analysis: TF-IDF of words and pairs of them, truncated."""
    tf_idf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+").fit(task.union[0])
    n_columns = min(N_COLUMNS, len(tf_idf.vocabulary_) - 1)
    svd = TruncatedSVD(n_columns, random_state=0).fit(tf_idf.transform(task.union[0]))
    return _with_rows(task, lambda texts: svd.transform(tf_idf.transform(texts)))


def _with_rows(task, encode):
    return replace(task, X=encode(task.X), X_meta=encode(task.X_meta), X_test=encode(task.X_test))
