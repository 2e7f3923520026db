"""The report of a fitted weighter: its numbers, its words, and its first lines in a notebook."""

import pickle
import sys
from contextlib import nullcontext
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from sklearn import config_context
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skotw import OTSampleWeighter, OTWeightedClassifier, OTWeightedRegressor
from skotw._weighter import report as module
from skotw.meta import balanced_meta_split
from skotw.metrics import class_weight_mass, effective_sample_size

X, Y, X_META, Y_META = balanced_meta_split(*load_iris(return_X_y=True), n_per_class=5, random_state=0)
_KEPT = np.random.default_rng(0).permutation(np.r_[0:40, 45:65, 90:100])
X, Y = X[_KEPT], Y[_KEPT]


def weighter(**params):
    return OTSampleWeighter(**params).fit(X, Y, X_META, Y_META)


def told(fitted, *words):
    """Warnings of the report that have all the words."""
    return [warning for warning in fitted.report().warnings if all(word in warning for word in words)]


# ---------------------------------------------------------------------------------------------
# Numbers


@pytest.mark.parametrize("labels", [np.array([5, 7, 9]), np.array(["a", "b", "c"])], ids=["numbers", "text"])
def test_classes_have_their_counts_masses_and_effective_sizes(labels):
    sample_weight = np.random.default_rng(0).uniform(0.5, 2.0, len(X))
    sample_weight[[0, 10, 33]] = 0.0
    fitted = OTSampleWeighter().fit(X, labels[Y], X_META, labels[Y_META], sample_weight=sample_weight)
    report, w, took_part = fitted.report(), fitted.sample_weight_, sample_weight > 0
    assert list(report.classes) == list(fitted.classes_)
    np.testing.assert_array_equal(report.count, np.bincount(Y[took_part]))
    np.testing.assert_allclose(report.mass_before, list(class_weight_mass(sample_weight, Y).values()))
    np.testing.assert_allclose(report.mass_after, list(class_weight_mass(w, Y).values()))
    sizes = [effective_sample_size(w[took_part & (k == Y)]) for k in range(3)]
    np.testing.assert_allclose(report.effective_size, sizes)
    assert report.n_effective == pytest.approx(fitted.effective_sample_size_)
    assert report.n_rows == len(X) - 3
    np.testing.assert_array_equal(report.precision, fitted.label_reliability_.precision)
    np.testing.assert_array_equal(report.precision_se, fitted.label_reliability_.precision_se)


def test_ends_are_rows_of_the_training_set():
    sample_weight = np.ones(len(X))
    sample_weight[:4] = 0.0
    fitted = OTSampleWeighter().fit(X, Y, X_META, Y_META, sample_weight=sample_weight)
    report, w = fitted.report(), fitted.sample_weight_
    assert report.heaviest[0].row == np.argmax(w)
    assert report.lightest[0].row == 4 + np.argmin(w[4:])  # rows without weight took no part
    for row, label, weight in report.heaviest + report.lightest:
        assert (label, weight) == (Y[row], w[row])
    assert [r.weight for r in report.heaviest] == sorted(w, reverse=True)[:5]


def test_reviewed_rows_took_no_part():
    verified = np.full(len(X), np.nan)
    verified[::3] = Y[::3]
    fitted = OTSampleWeighter().fit(X, Y, y_verified=verified)
    others = np.isnan(verified)
    assert fitted.report().n_rows == others.sum()
    np.testing.assert_array_equal(fitted.report().count, np.bincount(Y[others]))


def test_report_is_that_of_the_fit_and_cannot_be_changed():
    fitted = weighter(reg=0.1)
    before = str(fitted.report())
    fitted.set_params(reg=5.0)
    assert str(fitted.report()) == before
    assert str(pickle.loads(pickle.dumps(fitted)).report()) == before
    report = fitted.report()
    with pytest.raises(FrozenInstanceError):
        report.reg = 1.0
    with pytest.raises(ValueError, match="read-only"):
        report.count[0] = 1
    assert fitted.label_reliability_.precision.flags.writeable


def test_frame_has_one_line_per_class():
    pd = pytest.importorskip("pandas")
    report = weighter().report()
    frame = report.to_frame()
    assert frame.index.tolist() == [0, 1, 2]
    assert frame.index.name == "class"
    for name in ("count", "mass_before", "mass_after", "effective_size", "precision", "precision_se"):
        np.testing.assert_array_equal(frame[name], getattr(report, name))
    columns = np.stack([Y, np.arange(len(Y)) % 2], axis=1), np.stack([Y_META, np.arange(len(Y_META)) % 2], axis=1)
    frame = OTSampleWeighter().fit(X, columns[0], X_META, columns[1]).report().to_frame()
    assert not isinstance(frame.index, pd.MultiIndex)
    assert frame.index.tolist() == [(a, b) for a in range(3) for b in range(2)]


def test_without_pandas_the_frame_names_it(monkeypatch):
    report = weighter().report()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        report.to_frame()


@pytest.mark.parametrize(("y", "y_meta"), [(X[:, 0], X_META[:, 0]), (None, None)], ids=["continuous", "no labels"])
def test_without_classes_all_rows_are_one_line(y, y_meta):
    fitted = OTSampleWeighter().fit(X, y, X_META, y_meta)
    report = fitted.report()
    assert report.classes == ()
    assert report.count.tolist() == [len(X)]
    assert report.mass_after.tolist() == [1.0]
    assert report.heaviest[0].label is None
    assert "all rows" in str(report)
    assert "right labels" not in str(report)
    assert not told(fitted, "labels can be trusted")


# ---------------------------------------------------------------------------------------------
# Words


def test_text_has_every_class_and_number():
    report = weighter(reg=0.1).report()
    text = str(report)
    assert f"{report.n_effective:.1f} rows of equal weight (reg=0.1)" in text
    for k in range(3):
        line = next(line for line in text.splitlines() if line.split()[:1] == [str(k)])
        assert line.split()[1:4] == [
            str(report.count[k]),
            f"{report.mass_before[k]:.3f}",
            f"{report.mass_after[k]:.3f}",
        ]
    assert f"row {report.heaviest[0].row}" in text
    assert repr(report) == text


def test_of_many_classes_the_text_shows_the_first():
    y = np.arange(100) % 25
    rows = np.random.default_rng(0).normal(size=(100, 3))
    report = OTSampleWeighter(reg=1.0).fit(rows, y, rows[:50] + 0.1, y[:50]).report()
    assert "... and 5 more classes" in str(report)
    assert "... and 5 more classes" in report._repr_html_()
    assert len(report.count) == 25


def test_html_has_the_same_and_escapes_labels():
    names = np.array(["<b>", "a&b", "c"])
    report = OTSampleWeighter().fit(X, names[Y], X_META, names[Y_META]).report()
    html = report._repr_html_()
    assert "<b>" not in html
    assert "<td>&lt;b&gt;</td>" in html
    assert "a&amp;b" in html
    assert html.count("<tr>") == 4


def test_sound_weights_are_not_warned_of():
    assert weighter().report().warnings == ()


def one_spread_class():
    """Two classes of 200 rows; the trusted rows of class 0 are next to one row of it, those of class 1 to all."""
    y, y_meta = np.repeat([0, 1], 200), np.repeat([0, 1], 3)
    spread = np.random.default_rng(0).normal(size=(200, 2)) * 3
    rows = np.concatenate([spread, np.full((200, 2), 20.0)])
    trusted = np.concatenate([np.tile(spread[:1], (3, 1)) + 1e-3, np.full((3, 2), 20.01)])
    return rows, y, trusted, y_meta


def test_collapse_names_reg_and_max_weight():
    params = {"metric": "euclidean", "embedding": None, "reg": 1e-3}
    with pytest.warns(UserWarning, match="collapsed"):
        fitted = OTSampleWeighter(**params).fit(*one_spread_class())
    assert told(fitted, "All rows count as 4.0", "Raise reg, which is 0.001", "max_weight")  # 1 / (1/2)^2
    assert not told(OTSampleWeighter(**params, max_weight=2.0).fit(*one_spread_class()), "A few rows")


def test_collapse_of_one_class_names_it():
    params = {"metric": "euclidean", "embedding": None, "reg": 1e-3, "class_mass": {0: 0.05, 1: 0.95}}
    fitted = OTSampleWeighter(**params).fit(*one_spread_class())
    assert told(fitted, "nearly all the weight of class 0", "Raise reg")


def test_prior_of_believed_rows_is_what_weights_are_measured_by():
    fitted = weighter(embedding="supervised", prior="confidence", reg=1e4, random_state=0)
    report = fitted.report()  # of weights that are the prior, for so large a reg
    assert report.effective_size[0] < 39.99  # of 40 rows
    within = fitted._model.group_prior**2 / fitted._row_groups.squares
    np.testing.assert_allclose(within, report.effective_size, rtol=1e-3)
    assert not told(fitted, "A few rows")


def test_given_weights_that_count_a_few_rows_are_no_collapse():
    sample_weight = np.ones(len(X))
    sample_weight[[np.flatnonzero(k == Y)[0] for k in range(3)]] = 1e4
    fitted = OTSampleWeighter(reg=1.0).fit(X, Y, X_META, Y_META, sample_weight=sample_weight)
    assert fitted.report().effective_size.max() < 2.0
    assert not told(fitted, "A few rows")


def test_weights_that_go_by_class_alone_name_what_keeps_features_out():
    assert told(weighter(reg=1e4), "all rows count nearly the same", "Lower reg, which is 1e+04")
    assert told(weighter(label_weight=1.0), "all rows count nearly the same", "At label_weight=1", "Lower it")
    assert told(weighter(reg_prior=100.0, reg=1.0), "all rows count nearly the same", "Lower reg_prior")


def test_rows_that_a_prior_tells_apart_are_not_said_to_be_the_same():
    rng = np.random.default_rng(0)
    right = rng.integers(2, size=400)
    rows = rng.normal(size=(400, 3)) + 2.0 * right[:, None]
    labels = np.where(rng.random(400) < 0.2, 1 - right, right)
    params = {"embedding": "supervised", "prior": "confidence", "reg": 1e4}
    fitted = OTSampleWeighter(**params).fit(rows[50:], labels[50:], rows[:50], right[:50])
    assert fitted.report().n_effective < 330  # of 350, though so large a reg leaves the prior as it is
    assert not told(fitted, "nearly the same")


def test_class_that_lost_its_mass_names_what_keeps_it():
    fitted = weighter(label_weight=0.0, prior="uniform", reg=100.0)  # shares stay those of the rows, 1/7 of class 2
    assert told(fitted, "class 2", "class_mass", "label_cost='hard'")
    assert not told(weighter(label_cost="hard", prior="uniform", reg=100.0), "class_mass")


def test_unknown_reliability_names_what_would_make_it_known():
    one = [np.flatnonzero(k == Y_META)[0] for k in range(3)]
    fitted = OTSampleWeighter().fit(X, Y, X_META[one], Y_META[one])
    assert told(fitted, "not known how far", "two trusted rows per class in X_meta")
    noise = np.random.default_rng(0).normal(size=(300, 4))
    fitted = OTSampleWeighter().fit(noise[:260], np.arange(260) % 2, noise[260:], np.arange(40) % 2)
    assert np.isnan(fitted.label_reliability_.overall)
    assert told(fitted, "features do not tell", "another embedding or metric")
    costs = 1.0 + np.abs(X[:, None, 0] - X_META[None, :, 0])
    fitted = OTSampleWeighter(metric="precomputed").fit(costs, Y, None, Y_META)
    assert told(fitted, "metric='precomputed'", "Pass them as X_meta")


def test_room_too_small_for_the_reliability_names_the_memory():
    with config_context(working_memory=0.01):
        fitted = weighter(reg=0.1)
    assert np.isnan(fitted.label_reliability_.overall)
    assert told(fitted, "not known how far", "Raise scikit-learn's working_memory")


def test_class_of_unknown_precision_is_named():
    rows = np.r_[np.flatnonzero(Y_META < 2), np.flatnonzero(Y_META == 2)[:1]]
    fitted = OTSampleWeighter().fit(X, Y, X_META[rows], Y_META[rows])
    assert np.isnan(fitted.label_reliability_.precision[2])
    assert told(fitted, "how many labels are right of class 2", "Pass more trusted rows of it")


def test_class_with_mostly_wrong_labels_is_named():
    rng = np.random.default_rng(0)
    true, y_meta = np.repeat([0, 1, 2], [200, 100, 20]), np.repeat([0, 1, 2], 8)
    rows, trusted = (rng.normal(size=(len(y), 3)) + 4.0 * np.eye(3)[y] for y in (true, y_meta))
    noisy = true.copy()
    noisy[:80] = 2
    report = OTSampleWeighter().fit(rows, noisy, trusted, y_meta).report()
    assert abs(report.precision[2] - 0.2) < 2.0 * report.precision_se[2]
    assert [w for w in report.warnings if "class 2 seem to be wrong" in w and "y_verified" in w]


def with_precision(fitted, precision, precision_se, overall_se=0.05):
    """Its report, had its labels been found this reliable."""
    found = fitted.label_reliability_
    found = replace(found, precision=np.array(precision), precision_se=np.array(precision_se), overall_se=overall_se)
    return module.report_of(replace(fitted._model, reliability=found), fitted._row_groups, fitted.sample_weight_)


def test_what_has_a_large_standard_error_is_unknown_and_gives_no_advice():
    fitted = weighter()
    sure = with_precision(fitted, [0.0, 0.9, 0.9], [0.2, 0.1, 0.1])
    assert "0.00 ± 0.20" in str(sure)
    assert any("class 0 seem to be wrong" in warning for warning in sure.warnings)
    unsure = with_precision(fitted, [np.nan, 0.9, 0.9], [1.25, 0.1, 0.1], overall_se=0.3)
    assert "unknown" in str(unsure)
    assert "1.25" not in str(unsure)
    assert unsure.warnings == ()
    assert unsure.first_lines[1] == "Reliability of the labels: unknown."


@pytest.mark.parametrize("seed", range(3))
def test_trusted_rows_that_missed_the_scaling_do_not_condemn_labels(seed):
    rng = np.random.default_rng(seed)
    y, y_meta = np.repeat([0, 1, 2], [300, 100, 100]), np.repeat([0, 1, 2], 8)
    raw, raw_meta = (20.0 + 5.0 * (rng.normal(size=(len(c), 3)) + 3.0 * np.eye(3)[c]) for c in (y, y_meta))
    scaler = StandardScaler().fit(raw)
    for meta, missed in ((scaler.transform(raw_meta), False), (raw_meta, True)):
        with pytest.warns(UserWarning, match="transformed") if missed else nullcontext():
            report = OTSampleWeighter().fit(scaler.transform(raw), y, meta, y_meta).report()
        # all labels are right: where that is seen at all it is seen so, and nowhere the contrary
        if missed:
            assert np.isnan(report.precision).all()
        else:
            assert (report.precision + 2.0 * report.precision_se)[~np.isnan(report.precision)].min() > 0.95
        assert not [warning for warning in report.warnings if "seem to be wrong" in warning]


def test_trusted_rows_that_lie_elsewhere_are_told_of():
    unlike = with_precision(weighter(), [np.nan, 0.9, 0.9], [0.1, 0.1, 0.1])
    [warning] = unlike.warnings
    assert "training rows of class 0 lie elsewhere" in warning
    assert "same steps as X" in warning


# ---------------------------------------------------------------------------------------------
# What cannot report


def test_unfitted_weighter_says_so():
    with pytest.raises(NotFittedError):
        OTSampleWeighter().report()


def test_after_chunks_there_are_no_weights_to_report():
    fitted = weighter(reg=0.1)
    stream = OTSampleWeighter(reg=0.1).partial_fit(X, Y, X_META, Y_META)
    with pytest.raises(ValueError, match="Call fit on a sample of the rows"):
        stream.report()
    # and a report is gone once chunks have been learned
    fitted.partial_fit(X, Y, X_META, Y_META)
    with pytest.raises(ValueError, match="Call fit on a sample of the rows"):
        fitted.report()


# ---------------------------------------------------------------------------------------------
# Notebooks


def shown(estimator):
    """What a notebook shows; it asks for either of two."""
    html, bundle = estimator._repr_html_(), estimator._repr_mimebundle_()
    assert ("skotw-report" in html) == ("skotw-report" in bundle["text/html"])
    return html


def test_notebook_shows_the_first_lines_below_those_of_scikit_learn():
    fitted = weighter()
    html = shown(fitted)
    assert "sk-estimator" in html[: html.index("skotw-report")]
    for line in fitted.report().first_lines:
        assert line in html
    assert "<code>report()</code>" in html


def test_notebook_shows_the_report_of_what_an_estimator_holds():
    classifier = OTWeightedClassifier(LogisticRegression(max_iter=500)).fit(X, Y, X_meta=X_META, y_meta=Y_META)
    assert "<code>weighter_.report()</code>" in shown(classifier)
    assert classifier.weighter_.report().first_lines[0] in shown(classifier)


@pytest.mark.parametrize(
    "make",
    [
        OTSampleWeighter,
        lambda: OTSampleWeighter(reg=0.1).partial_fit(X, Y, X_META, Y_META),
        lambda: OTWeightedClassifier(LogisticRegression()),
        lambda: OTWeightedClassifier(LogisticRegression(), weighter=weighter()),
        OTWeightedRegressor,
    ],
    ids=["unfitted", "chunks", "unfitted classifier", "its weighter was fitted", "unfitted regressor"],
)
def test_notebook_shows_scikit_learns_alone_where_there_is_no_report(make):
    assert "skotw-report" not in shown(make())


def test_notebook_that_shows_text_gets_text():
    with config_context(display="text"):
        assert not hasattr(weighter(), "_repr_html_")
        assert list(weighter()._repr_mimebundle_()) == ["text/plain"]


def test_notebook_links_the_documentation_that_the_package_names(monkeypatch):
    monkeypatch.setattr(module, "documentation_url", lambda: "https://docs.example.org")
    page = "https://docs.example.org/generated/skotw.OTSampleWeighter.html"
    html = shown(weighter())
    assert f'href="{page}"' in html[: html.index("skotw-report")]  # in scikit-learn's own part as well
    assert f'href="{page}"' in html[html.index("skotw-report") :]
    own = type("Own", (OTSampleWeighter,), {"__module__": "users"})
    assert f'href="{page}"' in shown(own())  # which has no page
    monkeypatch.setattr(module, "documentation_url", lambda: None)
    html = shown(weighter())
    assert "href" not in html[html.index("skotw-report") :]


def test_address_of_the_documentation_is_that_of_the_metadata(monkeypatch):
    class Metadata:
        def __init__(self, lines):
            self.get_all = lambda name: lines if name == "Project-URL" else None

    lines = ["Source, https://code.example.org", "Documentation, https://docs.example.org/"]
    for found, url in [(lines, "https://docs.example.org"), (lines[:1], None), (None, None)]:
        module.documentation_url.cache_clear()
        monkeypatch.setattr(module, "metadata", lambda name, found=found: Metadata(found))
        assert module.documentation_url() == url
    module.documentation_url.cache_clear()


def test_labels_that_contradict_the_trusted_ones():
    for weight in (None, np.linspace(0.5, 1.5, len(Y))):
        with pytest.warns(UserWarning, match="labels contradict the trusted ones") as caught:
            fitted = OTSampleWeighter(reg=0.1).fit(X, (Y + 1) % 3, X_META, Y_META, sample_weight=weight)
        assert str(caught[0].message) in fitted.report().warnings
        assert not any("Most labels" in warning for warning in fitted.report().warnings)
