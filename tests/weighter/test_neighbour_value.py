"""The third belief of prior="confidence": what rows are worth to nearest neighbours that trusted rows judge."""

import pickle
from itertools import combinations
from math import comb

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.metrics import pairwise_distances
from sklearn.naive_bayes import GaussianNB

from skotw import OTSampleWeighter, OTWeightedClassifier, ot_sample_weight
from skotw._weighter import neighbour_value
from skotw._weighter.neighbour_value import NeighbourValue
from skotw.datasets import flip_labels

BOTH = {"embedding": "supervised", "prior": "confidence"}
K = 5


def value_of(X, y, X_meta, y_meta, weight=None, weight_meta=None):
    weight = np.ones(len(y)) if weight is None else weight
    weight_meta = np.ones(len(y_meta)) if weight_meta is None else weight_meta
    return NeighbourValue.fit(X, y, weight, X_meta, y_meta, weight_meta, np.random.RandomState(0))


def own(value, X, y):
    return value.of_labels(X)[np.arange(len(y)), y]


@pytest.fixture
def sets():
    """Two classes of unlike size, a fifth of whose labels is wrong, and four trusted rows of each."""
    rng = np.random.default_rng(0)
    true, y_meta = np.repeat([0, 1], [60, 20]), np.repeat([0, 1], 4)
    X, X_meta = (rng.normal(size=(len(y), 3)) + 2.0 * y[:, None] for y in (true, y_meta))
    y, wrong = flip_labels(true, 0.2, random_state=0, return_mask=True)
    return X, y, X_meta, y_meta, wrong


def test_values_are_those_of_shapley():
    """By their definition: the mean, over all orders in which rows join, of what each adds to the right votes."""
    rng = np.random.default_rng(0)
    n = 8
    X, X_meta = rng.normal(size=(n, 2)), rng.normal(size=(4, 2))
    y, y_meta = rng.integers(0, 2, n), np.array([0, 0, 1, 1])
    away = pairwise_distances(X_meta, X)

    def utility(rows):
        nearest = np.array(rows, dtype=int)[np.argsort(away[:, rows], axis=1)[:, :K]]
        return (y[nearest] == y_meta[:, None]).sum() / (K * len(y_meta))

    expected = np.zeros(n)
    for i in range(n):
        others = [row for row in range(n) if row != i]
        for size in range(n):
            gains = [utility([*some, i]) - utility(list(some)) for some in combinations(others, size)]
            expected[i] += sum(gains) / (n * comb(n - 1, size))
    assert_allclose(own(value_of(X, y, X_meta, y_meta), X, y), expected, atol=1e-12)


def test_a_row_of_weight_k_is_k_rows(sets):
    X, y, X_meta, y_meta, _ = sets
    rng = np.random.default_rng(0)
    times, times_meta = rng.integers(1, 4, len(y)), rng.integers(1, 4, len(y_meta))
    weighted = value_of(X, y, X_meta, y_meta, times.astype(float), times_meta.astype(float))
    repeated = value_of(*(np.repeat(of, times, axis=0) for of in (X, y)),
                        *(np.repeat(of, times_meta, axis=0) for of in (X_meta, y_meta)))  # fmt: skip
    assert_allclose(weighted.of_labels(X), repeated.of_labels(X), atol=1e-12)
    assert_allclose(weighted.relative(X), repeated.relative(X), atol=1e-9)


def test_order_and_container_do_not_matter(sets):
    X, y, X_meta, y_meta, _ = sets
    X = np.r_[X, X[:10]]  # labels of equal rows may differ
    y = np.r_[y, 1 - y[:10]]
    expected = value_of(X, y, X_meta, y_meta).of_labels(X)
    order = np.random.default_rng(1).permutation(len(y))
    assert_allclose(value_of(X[order], y[order], X_meta, y_meta).of_labels(X), expected, atol=1e-12)
    found = value_of(sparse.csr_array(X), y, sparse.csr_array(X_meta), y_meta).of_labels(sparse.csr_array(X))
    assert_allclose(found, expected, atol=1e-12)


def test_rows_behind_all_others_and_rows_in_front():
    """With one label there is no row to do better than: a vote counts 1 / k at most, and 1 / n from behind all."""
    X, y, X_meta = np.arange(1.0, 21.0)[:, None], np.zeros(20, dtype=int), np.zeros((1, 1))
    value = value_of(X, y, X_meta, np.zeros(1, dtype=int))
    assert_allclose(own(value, X, y), 1 / 20)
    X_meta, y_meta = np.array([[0.0], [100.0]]), np.array([0, 1])
    value = value_of(X, y, X_meta, y_meta)
    # in front of all for the row of class 1, and behind all for that of class 0; neither label is among rows behind
    of_label = value.of_labels(np.array([[100.0]]))[0]
    assert_allclose(of_label, [0.5 / 20, 0.5 / K])


def test_of_many_rows_some_stand_for_the_others(monkeypatch):
    rng = np.random.default_rng(0)
    y, y_meta = rng.integers(0, 2, 3000), np.repeat([0, 1], 5)
    X, X_meta = (rng.normal(size=(len(c), 2)) + c[:, None] for c in (y, y_meta))
    all_rows = own(value_of(X, y, X_meta, y_meta), X, y)
    monkeypatch.setattr(neighbour_value, "_MAX_SORTED", 1000)
    some = own(value_of(X, y, X_meta, y_meta), X, y)
    assert np.corrcoef(np.maximum(all_rows, 0), np.maximum(some, 0))[0, 1] > 0.9


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.normal(size=(3, 50)),
        lambda rng: rng.integers(0, 4, (3, 50)) * 0.1,  # many are equal
        lambda rng: np.exp(8.0 * rng.normal(size=(3, 50))),  # nearly all in the first cell
        lambda rng: np.full((3, 50), 0.7),
        lambda rng: rng.normal(size=(3, 1)),
    ],
)
def test_ranks_are_those_of_a_search(draw):
    rng = np.random.default_rng(0)
    ascending = np.sort(draw(rng), axis=1)
    outside = np.array([-np.inf, -1e9, 1e9, np.inf])
    values = np.concatenate([ascending, draw(rng), np.nextafter(ascending, -np.inf), np.tile(outside, (3, 1))], axis=1)
    places = neighbour_value._Ranks.among(ascending).of(values)
    for row in range(3):
        expected = np.searchsorted(ascending[row], values[row], side="right")
        assert_array_equal(places[row] - row * (ascending.shape[1] + 1), expected)


def test_single_precision_has_the_values_of_double(sets):
    X, y, X_meta, y_meta, _ = sets
    X, X_meta = (rows.astype(np.float32) for rows in (X, X_meta))
    expected = value_of(X.astype(np.float64), y, X_meta.astype(np.float64), y_meta).of_labels(X)
    assert_array_equal(value_of(X, y, X_meta, y_meta).of_labels(X), expected)


def test_a_copy_has_the_same_values(sets):
    X, y, X_meta, y_meta, _ = sets
    value = value_of(X, y, X_meta, y_meta)
    expected = value.of_labels(X)
    copy = pickle.loads(pickle.dumps(value))
    assert "_ranks" in vars(value)
    assert "_ranks" not in vars(copy)
    assert_array_equal(copy.of_labels(X), expected)


def test_wrong_labels_are_worth_less(sets):
    X, y, X_meta, y_meta, wrong = sets
    values = own(value_of(X, y, X_meta, y_meta), X, y)
    for label in (0, 1):
        assert values[(y == label) & wrong].mean() < 0 < values[(y == label) & ~wrong].mean()


def test_a_label_of_which_no_row_is_worth_anything_keeps_its_rows():
    X, y = np.repeat([0.0, 5.0], 10)[:, None], np.repeat([1, 0], 10)  # all labels wrong
    value = value_of(X, y, np.array([[0.0], [5.0]]), np.array([0, 1]))
    assert (own(value, X, y) <= 0).all()
    assert_array_equal(value.relative(X), 0.0)


@pytest.mark.parametrize("n_of_class_1", [4, 2])
def test_the_value_counts_as_far_as_labels_are_not_known_to_be_right(sets, n_of_class_1):
    """In the limit of large reg the weights are those of the prior: its factor is a power of the value."""
    X, y, X_meta, y_meta, _ = sets
    kept = np.concatenate([np.flatnonzero(y_meta == 0), np.flatnonzero(y_meta == 1)[:n_of_class_1]])
    X_meta, y_meta = X_meta[kept], y_meta[kept]
    params = {**BOTH, "reg": 1e6, "label_cost": "hard", "random_state": 0}
    w = OTSampleWeighter(**params).fit(X, y, X_meta, y_meta)
    v = w.label_reliability_.label_information()
    assert 0 < v < 0.9
    scaled = [w.embedding_.base_.transform(rows) for rows in (X, X_meta)]
    reached = 100 * n_of_class_1  # the fewest of a class
    doubt = (1 - v) * reached**2 / (reached**2 + len(y) ** 2)
    values = own(value_of(scaled[0], y, scaled[1], y_meta), scaled[0], y)
    typical = np.bincount(y, np.maximum(values, 0)) / np.bincount(y)
    factor = np.maximum(v + values / typical[y], 1e-20) ** doubt
    without = w._intake.confidence.of_labels(scaled[0], w.embedding_.transform(X) ** 2)[:2, np.arange(len(y)), y]
    belief = without[0] * without[1] ** (len(kept) / (len(kept) + v * len(y))) * factor
    assert_allclose(w.sample_weight_, len(y) / 2 * belief / np.bincount(y, belief)[y], rtol=1e-4, atol=1e-9)


def test_of_many_rows_none_is_thrown_away_on_the_word_of_a_few_trusted_ones(sets):
    """The limit of many rows, as weights of k are k rows: what models of all of them believe remains."""
    X, y, X_meta, y_meta, _ = sets
    w = OTSampleWeighter(**BOTH, reg=1e6, label_cost="hard", random_state=0)
    w.fit(X, y, X_meta, y_meta, sample_weight=np.full(len(y), 1e4))
    scaled = [w.embedding_.base_.transform(rows) for rows in (X, X_meta)]
    value = value_of(scaled[0], y, scaled[1], y_meta).relative(scaled[0])[np.arange(len(y)), y]
    assert (value <= -w.label_reliability_.label_information()).any()
    belief = w.embedding_.transform(X)[np.arange(len(y)), y] ** 2
    assert_allclose(w.sample_weight_ / 1e4, len(y) / 2 * belief / np.bincount(y, belief)[y], rtol=1e-3)


def test_labels_that_are_right_are_left_alone():
    rng = np.random.default_rng(0)
    y, y_meta = np.repeat([0, 1], [300, 100]), np.repeat([0, 1], 30)
    X, X_meta = (rng.normal(size=(len(c), 3)) + 6.0 * c[:, None] for c in (y, y_meta))
    w = OTSampleWeighter(**BOTH, random_state=0).fit(X, y, X_meta, y_meta)
    assert w.label_reliability_.label_information() > 0.95
    assert w.sample_weight_.min() > 0.5 * np.median(w.sample_weight_[y == 0])


@pytest.mark.parametrize(
    "params",
    [{}, {"max_weight": 3.0}, {"reg_prior": 1.0}, {"label_cost": "hard"}, {"solver": "gradient"}],
    ids=str,
)
def test_rows_that_mislead_weigh_next_to_nothing(sets, params):
    X, y, X_meta, y_meta, wrong = sets
    w = OTSampleWeighter(**BOTH, random_state=0, **params).fit(X, y, X_meta, y_meta)
    scaled = [w.embedding_.base_.transform(rows) for rows in (X, X_meta)]
    value = value_of(scaled[0], y, scaled[1], y_meta)
    misleads = value.relative(scaled[0])[np.arange(len(y)), y] <= -w.label_reliability_.label_information()
    assert 3 <= misleads.sum() < len(y) / 2
    assert w.sample_weight_[misleads].max() < 1e-3 < w.sample_weight_[~misleads].min()
    assert (w.sample_weight_ > 0).all()  # AdaBoost takes logarithms
    assert w.sample_weight_.sum() == pytest.approx(len(y))
    assert_allclose(w.weigh(X, y), w.sample_weight_, rtol=1e-6)
    assert np.isfinite(w.label_confidence_).all()
    assert np.isfinite(w.transport_plan(X, y)).all()
    assert misleads[wrong].mean() > 3 * misleads[~wrong].mean()


def test_a_given_learner_has_no_distances(sets):
    X, y, X_meta, y_meta, _ = sets
    w = OTSampleWeighter(embedding=GaussianNB(), prior="confidence").fit(X, y, X_meta, y_meta)
    assert (w.sample_weight_ > 0).all()


def test_the_total_is_the_number_of_rows_whatever_labels_are_worth(sets):
    X, y, X_meta, y_meta, _ = sets
    clf = OTWeightedClassifier(random_state=0).fit(X, y, X_meta=X_meta, y_meta=y_meta)
    assert clf.weighter_.label_reliability_.label_information() < 0.9
    assert clf.sample_weight_.sum() + clf.sample_weight_meta_.sum() == pytest.approx(len(y) + len(y_meta))
    assert ot_sample_weight(X, y, X_meta, y_meta, **BOTH).sum() == pytest.approx(len(y))
