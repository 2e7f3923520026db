"""Confidence of labels: the own label's share in the weights under all labels."""

import pickle
from copy import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.datasets import load_digits, make_classification
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from skotw import OTSampleWeighter
from skotw._weighter.input import Given, check_chunk
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split
from skotw.metrics import mislabel_auc

X, Y = make_classification(120, 6, n_informative=5, n_redundant=0, n_classes=3, random_state=0)
X, Y, X_META, Y_META = X[30:], Y[30:], X[:30], Y[:30]
Y = flip_labels(Y, 0.3, random_state=0)
SETS = X, Y, X_META, Y_META
COUNTS = np.bincount(Y)


def from_weights(weighter, X, y, mass=COUNTS):
    """The share from one call of ``weigh`` per label, each times what its class has.

    Rows weigh by a power of what models of the trusted ones say, which counts in full here, and by what they are worth
    to neighbours, which does not.
    """
    if weighter.prior == "confidence":
        weighter = copy(weighter)
        weighter._model = replace(weighter._model, basis=replace(weighter._model.basis, doubt=0.0))
    weights = np.stack([weighter.weigh(X, np.full(len(y), c)) for c in range(3)], axis=1) * mass
    if weighter.prior == "confidence":
        rows = check_chunk(Given(X, y), weighter._intake, weighter._model.target).rows
        weights *= rows.beliefs[1] ** (1 - weighter._model.basis.trust)
    return weights[np.arange(len(y)), y] / weights.sum(axis=1)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"reg": 0.05},
        {"label_cost": "hard"},
        {"reg_prior": 0.5, "reg": 0.1},
        {"solver": "gradient", "reg": 0.3},
        {"label_weight": 0.0},
        {"label_weight": 1.0, "reg": 0.5},
        {"metric": "euclidean"},
        {"metric": "manhattan"},
        {"n_prototypes": 2},
        {"class_mass": {0: 0.5, 1: 0.3, 2: 0.2}},
        {"prior": "confidence", "reg": 0.1},
        {"prior": "confidence", "embedding": "supervised"},
        {"prior": "confidence", "embedding": LogisticRegression(), "label_cost": "hard"},
    ],
    ids=repr,
)
def test_it_is_the_share_in_the_weights_under_all_labels(params):
    weighter = OTSampleWeighter(**params).fit(*SETS)
    # the factor that balances classes; before any transport they weigh what their rows do, times the belief in these
    mass = weighter._model.group_prior / weighter.class_mass_
    if params.get("prior") != "confidence":
        assert_array_equal(weighter._model.group_prior, COUNTS)
    assert_allclose(weighter.label_confidence_, from_weights(weighter, X, Y, mass), rtol=1e-10)
    rng = np.random.default_rng(1)
    new, labels = rng.normal(size=(20, 6)), rng.integers(3, size=20)
    assert_allclose(weighter.label_confidence(new, labels), from_weights(weighter, new, labels, mass), rtol=1e-10)


def test_prior_of_the_paper_has_no_class_to_divide_by():
    weighter = OTSampleWeighter(prior="uniform").fit(*SETS)
    assert_allclose(weighter.label_confidence_, from_weights(weighter, X, Y, np.ones(3)), rtol=1e-10)


def test_a_cap_on_weights_does_not_cap_confidence():
    free = OTSampleWeighter(reg=0.1).fit(*SETS)
    capped = OTSampleWeighter(reg=0.1, max_weight=1.5).fit(*SETS)
    assert_array_equal(capped.label_confidence_, free.label_confidence_)


def test_label_combinations():
    y, y_meta = np.c_[Y, Y % 2], np.c_[Y_META, Y_META % 2]
    weighter = OTSampleWeighter(reg=0.2).fit(X, y, X_META, y_meta)
    cells = np.array(weighter.classes_)
    weights = [weighter.weigh(X, np.tile(cell, (len(Y), 1))) * COUNTS[cell[0]] for cell in cells]
    own = np.array([weights[c][i] for i, c in enumerate(Y)])
    assert_allclose(weighter.label_confidence_, own / np.sum(weights, axis=0), rtol=1e-10)


def test_where_labels_say_nothing_all_are_alike():
    confidence = OTSampleWeighter(reg=1e6).fit(*SETS).label_confidence_
    assert_allclose(confidence, 1 / 3, atol=1e-5)


def test_shares_of_all_labels_sum_to_one():
    weighter = OTSampleWeighter().fit(*SETS)
    total = sum(weighter.label_confidence(X, np.full(len(Y), c)) for c in range(3))
    assert_allclose(total, 1.0, rtol=1e-12)


def test_wrong_labels_have_less():
    rows, y, meta, y_meta = balanced_meta_split(*load_digits(return_X_y=True), n_per_class=5, random_state=0)
    y, wrong = flip_labels(y, 0.3, random_state=0, return_mask=True)
    confidence = OTSampleWeighter().fit(rows, y, meta, y_meta).label_confidence_
    assert mislabel_auc(confidence, y, wrong) > 0.95
    assert confidence.min() >= 0
    assert confidence.max() <= 1


def test_a_class_without_training_rows_has_no_share():
    kept = Y < 2
    with pytest.warns(UserWarning, match="classes without training rows: 2"):
        lost = OTSampleWeighter(reg=0.1, label_cost="hard").fit(X[kept], Y[kept], X_META, Y_META)
    without = OTSampleWeighter(reg=0.1, label_cost="hard")
    without.fit(X[kept], Y[kept], X_META[Y_META < 2], Y_META[Y_META < 2])
    assert_allclose(lost.label_confidence_, without.label_confidence_, rtol=1e-12)


def test_rows_without_weight_have_none():
    sample_weight = np.r_[np.zeros(10), np.full(len(Y) - 10, 2.0)]
    weighter = OTSampleWeighter().fit(*SETS, sample_weight=sample_weight)
    assert np.isnan(weighter.label_confidence_[:10]).all()
    alone = OTSampleWeighter().fit(X[10:], Y[10:], X_META, Y_META)
    assert_allclose(weighter.label_confidence_[10:], alone.label_confidence_, rtol=1e-10)


CONTAINERS = {
    "list": lambda X: X.tolist(),
    "float32": lambda X: X.astype(np.float32),
    "pandas": lambda X: pd.DataFrame(X, columns=list("abcdef")),
    "polars": lambda X: pl.DataFrame(X, schema=list("abcdef")),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers(container):
    convert = CONTAINERS[container]
    weighter = OTSampleWeighter(reg=0.1).fit(convert(X), Y, convert(X_META), Y_META)
    expected = OTSampleWeighter(reg=0.1).fit(*SETS).label_confidence_
    tolerance = 1e-3 if container == "float32" else 1e-10
    assert_allclose(weighter.label_confidence_, expected, rtol=tolerance)
    assert_allclose(weighter.label_confidence(convert(X), Y), expected, rtol=tolerance)


def test_sparse_rows():
    sets = [sparse.csr_array(np.where(np.abs(rows) < 1, 0.0, rows)) for rows in (X, X_META)]
    weighter = OTSampleWeighter(reg=0.1).fit(sets[0], Y, sets[1], Y_META)
    dense = OTSampleWeighter(reg=0.1, embedding=None).fit(sets[0].toarray(), Y, sets[1].toarray(), Y_META)
    assert_allclose(weighter.label_confidence_, dense.label_confidence_, rtol=1e-10)
    assert_allclose(weighter.label_confidence(sets[0], Y), dense.label_confidence_, rtol=1e-10)


def test_tensors():
    torch = pytest.importorskip("torch")
    with config_context(array_api_dispatch=True):
        weighter = OTSampleWeighter(reg=0.1, embedding=None)
        weighter.fit(torch.as_tensor(X), Y, torch.as_tensor(X_META), Y_META)
        expected = OTSampleWeighter(reg=0.1, embedding=None).fit(*SETS).label_confidence_
        assert_allclose(weighter.label_confidence_, expected, rtol=1e-10)
        assert_allclose(weighter.label_confidence(torch.as_tensor(X), Y), expected, rtol=1e-10)


def test_texts():
    texts = ["good film", "bad plot", "fine film", "dull plot", "good plot"]
    weighter = OTSampleWeighter(embedding=TfidfVectorizer(), reg=0.1)
    weighter.fit(texts, [0, 1, 0, 1, 1], ["good fine film", "bad dull plot"], [0, 1])
    assert_array_equal(weighter.label_confidence(texts, [0, 1, 0, 1, 1]), weighter.label_confidence_)
    assert weighter.label_confidence(["good film", "good film"], [0, 1]) == pytest.approx([1, 0], abs=0.1)


# ------------------------------------------------------------------------------------------------
# When it is there


def test_rows_are_kept_only_until_it_is_known():
    weighter = OTSampleWeighter().fit(*SETS)
    assert "label_confidence_" not in vars(weighter)
    first = weighter.label_confidence_
    assert weighter._training_rows is None
    assert weighter.label_confidence_ is first


def test_pickles_have_it_and_no_rows():
    weighter = OTSampleWeighter().fit(np.tile(X, (20, 1)), np.tile(Y, 20), X_META, Y_META)
    copy = pickle.loads(pickle.dumps(weighter))
    assert vars(copy)["label_confidence_"].shape == (20 * len(Y),)
    assert copy._training_rows is None
    # weights and confidence, and next to nothing else for each row
    assert len(pickle.dumps(copy)) < 20 * len(Y) * 16 + 30_000


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("params", [{}, {"embedding": None}, {"metric": "euclidean"}, {"metric": "manhattan"}], ids=str)
@pytest.mark.parametrize("write", ["reverse", "scale", "one value"])
def test_rows_that_were_written_to_give_no_wrong_numbers(params, dtype, write):
    rows = X.astype(dtype)
    weighter = OTSampleWeighter(**params).fit(rows, Y, X_META, Y_META)
    expected = OTSampleWeighter(**params).fit(rows.copy(), Y, X_META, Y_META).label_confidence_
    if write == "reverse":
        rows[:] = rows[::-1].copy()
    elif write == "scale":
        rows *= 2
    else:
        rows[-1, -1] += 1e-3
    copy = pickle.loads(pickle.dumps(weighter))
    for each in (weighter, copy):
        if hasattr(each, "label_confidence_"):  # of rows that are copies
            assert_array_equal(each.label_confidence_, expected)


def test_rows_that_were_written_to_are_told(monkeypatch):
    monkeypatch.setattr("skotw._weighter.model._FEW_BYTES", 0)  # as if there were too many to copy
    rows = X.copy()
    weighter = OTSampleWeighter().fit(rows, Y, X_META, Y_META)
    rows[:] = rows[::-1].copy()
    with pytest.raises(AttributeError, match=r"X has been written to since fit\. Call label_confidence"):
        _ = weighter.label_confidence_
    rows[:] = X
    assert_array_equal(weighter.label_confidence_, OTSampleWeighter().fit(*SETS).label_confidence_)


def test_what_lists_attributes_does_not_compute_it():
    weighter = OTSampleWeighter().fit(*SETS)
    weighter._repr_html_()
    weighter._repr_mimebundle_()
    for name in dir(weighter):
        getattr(weighter, name, None)
    assert "label_confidence_" not in vars(weighter)
    assert {"sample_weight_", "effective_sample_size_"} <= {*dir(weighter)}
    _ = weighter.label_confidence_
    assert "label_confidence_" in dir(weighter)
    assert "sample_weight_" not in dir(OTSampleWeighter().partial_fit(*SETS))


def test_the_next_fit_forgets_it():
    weighter = OTSampleWeighter().fit(*SETS)
    before = weighter.label_confidence_
    assert not np.array_equal(weighter.fit(X, Y[::-1], X_META, Y_META).label_confidence_, before)
    weighter.fit(X, None, X_META)
    assert not hasattr(weighter, "label_confidence_")


@pytest.mark.parametrize(
    "sets", [(X, X[:, 0], X_META, X_META[:, 0]), (X, None, X_META)], ids=["continuous", "without labels"]
)
def test_there_is_none_without_classes(sets):
    weighter = OTSampleWeighter().fit(*sets)
    with pytest.raises(AttributeError, match=r"has no attribute .*confidence of labels compares"):
        _ = weighter.label_confidence_
    with pytest.raises(ValueError, match="compares classes, and the weighter was fitted without any"):
        weighter.label_confidence(X, Y)


def test_there_is_none_before_a_fit_or_after_chunks():
    assert not hasattr(OTSampleWeighter(), "label_confidence_")
    weighter = OTSampleWeighter().partial_fit(*SETS)
    with pytest.raises(AttributeError, match="No training rows are kept: call label_confidence"):
        _ = weighter.label_confidence_
    whole = OTSampleWeighter().fit(*SETS)
    assert_allclose(weighter.label_confidence(X, Y), whole.label_confidence_, rtol=1e-10)


def test_a_class_that_had_no_rows():
    with pytest.warns(UserWarning, match="classes without training rows"):
        weighter = OTSampleWeighter().fit(X[Y < 2], Y[Y < 2], X_META, Y_META)
    with pytest.raises(ValueError, match="y has classes that had no training rows: 2"):
        weighter.label_confidence(X, Y)
