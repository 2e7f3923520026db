"""Precision of each label by scores of models that have not seen the rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import make_blobs
from sklearn.naive_bayes import GaussianNB

from skotw import OTSampleWeighter
from skotw._weighter import input
from skotw._weighter import label_precision as module
from skotw._weighter.label_precision import linear_scores, precision_of_scores
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split

MODELS = OTSampleWeighter(embedding="supervised", prior="confidence", random_state=0)


def given_by(y, transition, seed=0):
    return flip_labels(y, kind="class-dependent", transition=transition, random_state=seed)


def precision_of(given, y, weight=None):
    weight = np.ones(len(y)) if weight is None else weight
    return np.bincount(given, weight * (given == y)) / np.bincount(given, weight)


def scores_of(y, K, spread, rng):
    """Scores of each class that differ between classes by 0.4 on average, and scatter."""
    return np.clip(0.3 + 0.4 * (y[:, None] == np.arange(K)) + spread * rng.normal(size=(len(y), K)), 0.0, 1.0)


def read(given, y, y_meta, *, spread=0.05, seed=0, views=1, weight=None, weight_meta=None):
    """What scores of rows tell whose classes are y and whose labels are others."""
    rng, K = np.random.default_rng(seed), int(y_meta.max()) + 1
    scores, meta_scores = ([scores_of(of, K, spread, rng) for _ in range(views)] for of in (y, y_meta))
    weight, weight_meta = (np.ones(len(of)) if w is None else w for of, w in ((given, weight), (y_meta, weight_meta)))
    return precision_of_scores(scores, meta_scores, given, y_meta, weight, weight_meta)


UNEQUAL = np.repeat([0, 1, 2], [900, 300, 300])
RATES = [
    np.diag([0.5, 0.9, 1.0]) + np.array([[0, 0.5, 0], [0, 0, 0.1], [0, 0, 0]]),
    np.full((3, 3), 0.2) + 0.4 * np.eye(3),
]


# ------------------------------------------------------------------------------------------------
# Known mixtures


@pytest.mark.parametrize("transition", RATES)
@pytest.mark.parametrize("views", [1, 2])
def test_labels_of_known_precision(transition, views):
    """Whichever class the wrong rows come from."""
    given = given_by(UNEQUAL, transition)
    p, se = read(given, UNEQUAL, np.repeat(np.arange(3), 40), views=views)
    truth = precision_of(given, UNEQUAL)
    assert truth.max() - truth.min() > 0.15
    assert_allclose(p, truth, atol=0.04)
    assert (np.abs(p - truth) < 2.0 * se).all()
    assert (se < 0.04).all()


@pytest.mark.parametrize("sizes", [(400, 400), (600, 200)])
@pytest.mark.parametrize("rates", [(0.0, 0.6), (0.3, 0.0), (0.1, 0.5), (0.4, 0.4)])
def test_two_labels_of_unequal_precision(rates, sizes):
    """Their sum is not all that is told."""
    y = np.repeat([0, 1], sizes)
    given = given_by(y, np.array([[1 - rates[0], rates[0]], [rates[1], 1 - rates[1]]]))
    p, se = read(given, y, np.repeat([0, 1], 40))
    assert_allclose(p, precision_of(given, y), atol=0.05)
    assert (np.abs(p - precision_of(given, y)) < 2.0 * se).all()


def test_standard_errors_shrink_with_trusted_rows_and_hold_the_truth():
    y = np.repeat([0, 1], [600, 150])
    mean_se, hits = [], []
    for n in (6, 12, 40):
        errors = []
        for seed in range(15):
            given = given_by(y, np.array([[0.8, 0.2], [0.3, 0.7]]), seed)
            p, se = read(given, y, np.repeat([0, 1], n), spread=0.2, seed=seed)
            told = ~np.isnan(p)
            hits += (np.abs(p - precision_of(given, y)) < 2.0 * se)[told].tolist()
            errors.append(np.nanmean(se))
        mean_se.append(np.mean(errors))
    assert mean_se[0] > 1.3 * mean_se[1] > 1.69 * mean_se[2]
    assert len(hits) > 60
    assert np.mean(hits) > 0.9


def test_wrong_rows_of_the_class_that_looks_most_alike():
    """Half of label 0 is of class 1, whose rows score 0.45 of class 0, and those of classes 2 and 3 score 0.05."""
    means = np.array([[0.6, 0.4, 0.0, 0.0], [0.45, 0.55, 0.0, 0.0], [0.05, 0.0, 0.55, 0.4], [0.05, 0.0, 0.35, 0.6]])
    y, y_meta = np.repeat(np.arange(4), 400), np.repeat(np.arange(4), 60)
    given = np.where((y == 1) & (np.arange(1600) % 2 == 0), 0, y)
    rng = np.random.default_rng(0)
    scores, meta_scores = (np.clip(means[of] + 0.03 * rng.normal(size=(len(of), 4)), 0, 1) for of in (y, y_meta))
    ones, ones_meta = np.ones(1600), np.ones(240)
    p, se = precision_of_scores([scores], [meta_scores], given, y_meta, ones, ones_meta)
    assert_allclose(p[0], 2 / 3, atol=0.1)
    assert abs(p[0] - 2 / 3) < 2.0 * se[0]


@pytest.mark.parametrize("n", [10, 40])
@pytest.mark.parametrize("rates", [(0.0, 0.1), (0.02, 0.02), (0.02, 0.2)])
def test_few_wrong_labels_that_pass_for_none_are_within_the_standard_error(rates, n):
    y = np.repeat([0, 1], [900, 300])
    for seed in range(5):
        given = given_by(y, np.array([[1 - rates[0], rates[0]], [rates[1], 1 - rates[1]]]), seed)
        p, se = read(given, y, np.repeat([0, 1], n), spread=0.15, seed=seed)
        assert (np.abs(p - precision_of(given, y)) < 2.5 * se).all()


# ------------------------------------------------------------------------------------------------
# Limits


@pytest.mark.parametrize("sizes", [(500, 60), (200, 200, 100, 100)])
def test_labels_that_are_all_right(sizes):
    y = np.repeat(np.arange(len(sizes)), sizes)
    p, se = read(y, y, np.repeat(np.arange(len(sizes)), 15))
    assert (p > 0.98).all()
    assert (se < 0.1).all()


def test_labels_that_are_all_swapped():
    y = np.repeat([0, 1], 300)
    p, _ = read(1 - y, y, np.repeat([0, 1], 40), spread=0.02)
    assert (p < 0.05).all()


@pytest.mark.parametrize("n_classes", [2, 4])
def test_scores_that_say_nothing_tell_nothing(n_classes):
    told, separated = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y, y_meta = np.repeat(np.arange(n_classes), 100), np.repeat(np.arange(n_classes), 10)
        scores, meta_scores = (rng.uniform(size=(len(of), n_classes)) for of in (y, y_meta))
        p, se = precision_of_scores([scores], [meta_scores], y, y_meta, np.ones(len(y)), np.ones(len(y_meta)))
        told += (~np.isnan(p)).tolist()
        separated += (~np.isnan(se)).tolist()
    # two standard errors are passed by chance
    assert np.mean(told) < 0.1
    assert np.mean(separated) < 0.15


def test_scores_unlike_those_of_all_trusted_rows_tell_nothing():
    """No mixture of two means lies beyond both."""
    y, y_meta = np.repeat([0, 1], 200), np.repeat([0, 1], 30)
    away, meta_scores = np.full((400, 2), 0.95), np.full((60, 2), 0.1)
    meta_scores[np.arange(60), y_meta] = 0.4
    p, se = precision_of_scores([away], [meta_scores], y, y_meta, np.ones(400), np.ones(60))
    assert np.isnan(p).all()
    assert (se < 0.25).all()


def test_one_trusted_row_of_a_class_leaves_its_precision_unknown():
    given = given_by(UNEQUAL, RATES[1])
    p, se = read(given, UNEQUAL, np.repeat([0, 1, 2], [30, 30, 1]))
    assert_array_equal(np.isnan(p), [False, False, True])
    assert np.isnan(se[2])
    assert_allclose(p[:2], precision_of(given, UNEQUAL)[:2], atol=0.1)


def test_classes_without_training_rows_take_no_part():
    given = given_by(UNEQUAL, RATES[1])
    p, se = read(given, UNEQUAL, np.repeat(np.arange(4), 30))
    assert np.isnan(p[3])
    assert np.isnan(se[3])
    assert_allclose(p[:3], precision_of(given, UNEQUAL), atol=0.05)


@pytest.mark.parametrize(
    ("given", "y_meta"), [(np.zeros(50, int), np.repeat([0, 1], 5)), (np.arange(50) % 2, np.array([0, 1]))]
)
def test_one_label_or_one_trusted_row_of_each_tells_nothing(given, y_meta):
    p, se = read(given, given, y_meta)
    assert np.isnan(p).all()
    assert np.isnan(se).all()


# ------------------------------------------------------------------------------------------------
# Equivalences


@pytest.fixture
def scored():
    rng = np.random.default_rng(3)
    given, y_meta = given_by(UNEQUAL, RATES[0]), np.repeat([0, 1, 2], [12, 8, 10])
    scores = [[scores_of(of, 3, 0.2, rng) for of in (UNEQUAL, y_meta)] for _ in range(2)]
    views, meta_views = zip(*scores, strict=True)
    return list(views), list(meta_views), given, y_meta, rng.integers(1, 4, len(given)), rng.integers(1, 4, len(y_meta))


def test_classes_in_another_order(scored):
    views, meta_views, given, y_meta, weight, weight_meta = scored
    order = np.array([2, 0, 1])  # new class of each
    moved = [[view[:, np.argsort(order)] for view in of] for of in (views, meta_views)]
    expected = precision_of_scores(*scored)
    found = precision_of_scores(*moved, order[given], order[y_meta], weight, weight_meta)
    assert_allclose(np.array(found)[:, order], expected, atol=1e-9)


def test_rows_of_weight_k_are_k_rows(scored):
    """Training rows, whose number tells next to nothing here; means of trusted ones are as good as their number."""
    views, meta_views, given, y_meta, weight, weight_meta = scored
    views = [np.repeat(view, weight, axis=0) for view in views]
    copied = views, meta_views, np.repeat(given, weight), y_meta, np.ones(weight.sum()), weight_meta
    assert_allclose(precision_of_scores(*copied), precision_of_scores(*scored), atol=5e-3)


def test_trusted_rows_of_little_weight_count_little(scored):
    views, meta_views, given, y_meta, weight, _ = scored
    rng = np.random.default_rng(0)
    more = rng.integers(0, 3, 9)
    wrong = [scores_of((more + 1) % 3, 3, 0.2, rng) for _ in views]
    joined = [np.concatenate(of) for of in zip(meta_views, wrong, strict=True)]
    ones, little = np.ones(len(y_meta)), np.full(9, 1e-6)
    found = precision_of_scores(views, joined, given, np.r_[y_meta, more], weight, np.r_[ones, little])
    assert_allclose(found, precision_of_scores(views, meta_views, given, y_meta, weight, ones), atol=1e-4)


def test_grid_is_fine_enough(scored, monkeypatch):
    expected = precision_of_scores(*scored)
    angles = (np.arange(120) + 0.5) / 120 * np.pi / 2
    finer = {
        "_LOG_ODDS": np.linspace(-5.5, 4.0, 80)[:, None], "_ANGLES": angles, "_PRECISIONS": np.sin(angles) ** 2,
        "_STEPS": np.sin(2 * angles), "_GRID": (80, 120), "_RATES": 0.45 * (np.arange(40) + 0.5) / 40,
    }  # fmt: skip
    for name, value in finer.items():
        monkeypatch.setattr(module, name, value)
    assert_allclose(precision_of_scores(*scored), expected, atol=0.01)


# ------------------------------------------------------------------------------------------------
# Linear scores


@pytest.fixture(scope="module")
def blobs():
    X, y = make_blobs([300, 200, 200], 5, centers=6 * np.eye(3, 5), cluster_std=1.5, random_state=1)
    return balanced_meta_split(X, y, 12, random_state=0)


def by_normal_equations(fitted, asked, codes, penalty, target):
    """Penalised least squares, with a constant that has a hundredth of the penalty."""
    fitted, asked = (np.c_[np.full(len(of), 10.0 * np.sqrt(penalty)), of] for of in (fitted, asked))
    normal = fitted.T @ fitted + penalty * np.eye(fitted.shape[1])
    return np.clip(asked @ np.linalg.solve(normal, fitted.T @ target) + 1.0 / 3.0, 0.0, 1.0)


def test_linear_scores_are_penalised_least_squares(blobs):
    X, _, X_meta, y_meta = blobs
    scores, left_out = linear_scores(X, X_meta, y_meta, np.ones(len(y_meta)), 3)
    centre = X_meta.mean(axis=0)
    fitted, asked, target = X_meta - centre, X - centre, (y_meta[:, None] == np.arange(3)) - 1.0 / 3.0
    penalty = 0.3 * np.mean((fitted**2).sum(axis=1))
    assert_allclose(scores, by_normal_equations(fitted, asked, y_meta, penalty, target), atol=1e-9)
    for j in (0, 13, 35):  # with the mean and the penalty of all of them
        kept = np.arange(len(y_meta)) != j
        one = by_normal_equations(fitted[kept], fitted[[j]], y_meta[kept], penalty, target[kept])
        assert_allclose(left_out[[j]], one, atol=1e-9)


def test_linear_scores_count_classes_the_same(blobs):
    """Trusted rows of a class that come three times are worth as much as once, however many others there are."""
    X, _, X_meta, y_meta = blobs
    copied = np.repeat(np.arange(len(y_meta)), np.where(y_meta == 1, 3, 1))
    weight = np.ones(len(y_meta))
    expected, _ = linear_scores(X, X_meta, y_meta, weight, 3)
    found, _ = linear_scores(X, X_meta, y_meta, np.where(y_meta == 1, 3.0, 1.0), 3)
    assert_allclose(found, expected, atol=1e-9)
    found, _ = linear_scores(X, X_meta[copied], y_meta[copied], np.ones(len(copied)), 3)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


def test_linear_scores_of_sparse_rows_and_of_single_precision(blobs):
    X, _, X_meta, y_meta = blobs
    expected = linear_scores(X, X_meta, y_meta, np.ones(len(y_meta)), 3)
    of_sparse = linear_scores(sparse.csr_array(X), sparse.csr_array(X_meta), y_meta, np.ones(len(y_meta)), 3)
    of_single = linear_scores(X.astype(np.float32), X_meta.astype(np.float32), y_meta, np.ones(len(y_meta)), 3)
    for found, atol in ((of_sparse, 1e-10), (of_single, 1e-5)):
        for ours, theirs in zip(found, expected, strict=True):
            assert_allclose(ours, theirs, atol=atol)


@pytest.mark.parametrize("value", [0.0, 1e8])
def test_rows_that_are_all_alike_have_the_scores_of_chance(value):
    rows, codes = np.full((20, 3), value), np.arange(20) % 2
    scores, left_out = linear_scores(rows, rows, codes, np.ones(20), 2)
    assert_allclose(scores, 0.5, atol=1e-3)
    assert_allclose(left_out, 0.5, atol=0.06)


# ------------------------------------------------------------------------------------------------
# In the weighter


@pytest.mark.parametrize(
    "settings", [{"embedding": "supervised"}, {"prior": "confidence"}, {"embedding": GaussianNB()}]
)
def test_weighters_with_models_tell_the_precision_of_labels(blobs, settings):
    X, y, X_meta, y_meta = blobs
    given = given_by(y, RATES[0], 1)
    found = OTSampleWeighter(random_state=0, **settings).fit(X, given, X_meta, y_meta).label_reliability_
    truth = precision_of(given, y)
    assert_allclose(found.precision, truth, atol=0.12)
    assert (np.abs(found.precision - truth) < 2.0 * found.precision_se).all()


def test_precision_counts_rows_by_their_weight(blobs):
    X, y, X_meta, y_meta = blobs
    given = given_by(y, RATES[1], 1)
    weight = np.where(given == y, 1.0, 3.0)
    found = MODELS.fit(X, given, X_meta, y_meta, sample_weight=weight).label_reliability_
    truth = precision_of(given, y, weight)
    assert (truth < precision_of(given, y) - 0.1).all()
    assert (np.abs(found.precision - truth) < 2.0 * found.precision_se).all()


def test_labels_that_are_right_are_told_so(blobs):
    X, y, X_meta, y_meta = blobs
    found = MODELS.fit(X, y, X_meta, y_meta).label_reliability_
    assert (found.precision > 0.97).all()


def test_weights_do_not_depend_on_it(blobs, monkeypatch):
    X, y, X_meta, y_meta = blobs
    given = given_by(y, RATES[0], 1)
    expected = MODELS.fit(X, given, X_meta, y_meta).sample_weight_
    monkeypatch.setattr(input, "label_precision", lambda *args: np.full((2, 3), 0.125))
    fitted = MODELS.fit(X, given, X_meta, y_meta)
    assert_array_equal(fitted.label_reliability_.precision, 0.125)
    assert_array_equal(fitted.sample_weight_, expected)


def test_more_trusted_rows_than_are_asked(blobs, monkeypatch):
    X, y, X_meta, y_meta = blobs
    given = given_by(y, RATES[1], 1)
    monkeypatch.setattr(module, "_MAX_ASKED", 24)
    found = MODELS.fit(X, given, X_meta, y_meta).label_reliability_
    truth = precision_of(given, y)
    assert (np.abs(found.precision - truth) < 2.0 * found.precision_se).all()
    kept = np.concatenate([np.flatnonzero(y_meta == c)[:8] for c in range(3)])
    fewer = MODELS.fit(X, given, X_meta[kept], y_meta[kept]).label_reliability_
    assert_allclose(found.precision_se, fewer.precision_se, rtol=0.5)
