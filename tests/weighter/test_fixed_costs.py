"""What a fit does whatever the number of rows is done once: small sets, in every fold of a search, must not wait."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.preprocessing import StandardScaler

from skotw import OTSampleWeighter
from skotw._transport import blocks
from skotw._weighter import embedding, estimator, frames, input

pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")


@pytest.fixture(scope="module")
def sets():
    X, y = make_classification(720, 20, random_state=0)
    meta = np.r_[np.flatnonzero(y == 0)[:10], np.flatnonzero(y == 1)[:10]]
    rest = np.setdiff1d(np.arange(720), meta)
    return X[rest], y[rest], X[meta], y[meta]


def counted(monkeypatch, owner, name):
    """Arguments of every call of a function, which goes on as before."""
    calls, function = [], getattr(owner, name)

    def count(*args, **kwargs):
        calls.append((args, kwargs))
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, count)
    return calls


def test_rows_are_converted_once_and_plain_arrays_never(monkeypatch, sets):
    X, y, X_meta, y_meta = sets
    of_rows = [counted(monkeypatch, input, name) for name in ("validate_data", "check_array")]
    of_embedded = counted(monkeypatch, embedding, "check_array")
    plain = OTSampleWeighter().fit(X, y, X_meta, y_meta)
    assert not any(of_rows)
    listed = OTSampleWeighter().fit(X.tolist(), y, X_meta.tolist(), y_meta)
    assert [kwargs["dtype"][0] for _, kwargs in of_rows[0] if "dtype" in kwargs] == [np.float64]  # X
    assert [kwargs["input_name"] for _, kwargs in of_rows[1]] == ["X_meta"]
    assert not of_embedded
    np.testing.assert_array_equal(plain.sample_weight_, listed.sample_weight_)
    assert plain.n_features_in_ == listed.n_features_in_ == 20


def test_plain_rows_that_are_wrong_are_refused_as_before(sets):
    X, y, X_meta, y_meta = sets
    weighter = OTSampleWeighter().fit(X, y, X_meta, y_meta)
    with pytest.raises(ValueError, match="X has 19 features, but OTSampleWeighter is expecting 20 features"):
        weighter.weigh(X[:, 1:], y)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        weighter.weigh(X[:0], y[:0])
    broken = X.copy()
    broken[3, 4] = np.inf
    with pytest.raises(ValueError, match="X contains infinity, first in row 3, column 4"):
        weighter.weigh(broken, y)
    large = np.full((2, 20), 1e308)  # their sum is infinite, and they are not
    assert np.isfinite(OTSampleWeighter(embedding=None).fit(X, y, X_meta, y_meta).weigh(large, y[:2])).all()


def test_parameters_that_have_passed_are_not_checked_again(monkeypatch, sets):
    estimator._validate_once.cache_clear()
    checks = counted(monkeypatch, estimator, "validate_parameter_constraints")
    for _ in range(3):
        OTSampleWeighter(reg=1).fit(*sets)
    assert len(checks) == 1
    for _ in range(2):  # what has failed fails again
        with pytest.raises(ValueError, match="The 'reg' parameter of OTSampleWeighter must be"):
            OTSampleWeighter(reg=-1).fit(*sets)
    OTSampleWeighter(n_prototypes=2).fit(*sets)
    with pytest.raises(ValueError, match="The 'n_prototypes' parameter"):  # which equals 2, and is no whole number
        OTSampleWeighter(n_prototypes=2.0).fit(*sets)


def test_the_limit_of_blas_threads_is_set_once(monkeypatch, sets):
    class Limits:
        lib_controllers = blocks._blas().lib_controllers

        def limit(self, limits):
            count.append(limits)
            return whole.limit(limits=limits)

    whole, count, limits = blocks._blas(), [], Limits()
    monkeypatch.setattr(blocks, "_blas", lambda: limits)
    OTSampleWeighter().fit(*sets)
    assert count == [1]


def test_transformers_of_the_user_have_all_threads(sets):
    class Watched(StandardScaler):
        def fit(self, X, y=None, sample_weight=None):
            seen.append(blocks._ONE_BLAS_THREAD.n_users)
            return super().fit(X, y, sample_weight)

    seen = []
    OTSampleWeighter(embedding=Watched()).fit(*sets)
    assert seen == [0]


def test_small_sets_start_no_thread(monkeypatch, sets):
    def refuse(*args, **kwargs):
        raise AssertionError("a thread takes longer than these rows")

    monkeypatch.setattr(blocks.ThreadPoolExecutor, "submit", refuse)
    OTSampleWeighter(n_jobs=8).fit(*sets)


@pytest.mark.parametrize("library", [pd, pl])
def test_frames_of_numbers_are_read_as_a_whole(monkeypatch, sets, library):
    X, y, X_meta, y_meta = sets
    expected = OTSampleWeighter().fit(X, y, X_meta, y_meta).sample_weight_
    columns = counted(monkeypatch, frames, "_numbers")
    X, X_meta = (library.DataFrame({f"f{k}": rows[:, k] for k in range(20)}) for rows in (X, X_meta))
    found = OTSampleWeighter().fit(X, y, X_meta, y_meta).sample_weight_
    assert not columns
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_frames_are_checked_once_and_read_for_fitting_embedding_and_comparing_alone(monkeypatch, sets):
    X, y, X_meta, y_meta = sets
    X, X_meta = (pd.DataFrame(rows).rename(columns="f{}".format) for rows in (X, X_meta))
    checks, reads = counted(monkeypatch, input, "validate_data"), counted(monkeypatch, frames, "_read")
    OTSampleWeighter().fit(X, y, X_meta[X.columns[::-1]], y_meta)
    assert len(checks) == 1
    assert [len(rows) for (rows,), _ in reads] == [700, 700, 20, 700, 20]
