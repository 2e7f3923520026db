"""The quality benchmark: contenders are what they say, draws keep rows apart, runs go on, the report counts right."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight

from benchmarks.quality import contenders, report, sources, statistics, task, texts
from benchmarks.quality.__main__ import main
from benchmarks.quality.results import SCORE, ResultsFile, record
from benchmarks.quality.run import MODELS, run, run_cell
from skotw import OTSampleWeighter, OTWeightedClassifier

# contenders train linear models and small networks for a few steps only
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def drawn():
    """A task that classifiers solve, with 30 % of the labels wrong."""
    X, y = make_classification(
        600, 6, n_informative=4, n_redundant=0, weights=[0.7], class_sep=2.0, flip_y=0, n_clusters_per_class=1,
        random_state=0,
    )  # fmt: skip
    return task.draw(lambda: (X, y), "30 %", 200, seed=0)


# ------------------------------------------------------------------ draws


def numbered(n=400, rare=60):
    """Rows that are their own number."""
    y = (np.arange(n) < rare).astype(int)
    return lambda: (np.arange(n, dtype=float)[:, None], y), y


@pytest.mark.parametrize("noise", task.NOISE)
def test_draws_keep_rows_apart_and_the_truth(noise):
    load, y = numbered()
    one = task.draw(load, noise, None, seed=3)
    train, trusted, test = (part[:, 0].astype(int) for part in (one.X, one.X_meta, one.X_test))
    assert sorted([*train, *trusted, *test]) == list(range(400))
    assert np.bincount(one.y_meta).tolist() == [10, 10]
    assert np.bincount(one.y_test).tolist() == [170, 30]
    np.testing.assert_array_equal(one.y_true, y[train])
    np.testing.assert_array_equal(one.y_meta, y[trusted])
    np.testing.assert_array_equal(one.y_test, y[test])
    wrong = [np.mean(one.y[one.y_true == c] != c) for c in (0, 1)]
    if noise == "30 % by class":
        assert sorted(wrong) == pytest.approx([0.15, 0.45], abs=0.05)
    else:
        assert wrong == pytest.approx([task.RATES[noise]] * 2, abs=0.03)


def test_fewer_rows_are_part_of_more_and_classes_stay():
    load, _ = numbered(rare=44)
    few, more, whole = (task.draw(load, "clean", rows, seed=1) for rows in (20, 90, None))
    assert set(few.X[:, 0]) < set(more.X[:, 0]) < set(whole.X[:, 0])
    assert len(more.y) == pytest.approx(90, abs=1)
    assert np.bincount(few.y).min() == 3
    np.testing.assert_array_equal(few.X_meta, whole.X_meta)


def test_classes_that_are_too_small():
    y = np.repeat([3, 5, 9], [60, 30, 7])
    one = task.draw(lambda: (np.zeros((97, 1)), y), "clean", None, seed=0)
    assert one.n_classes == 2
    assert np.bincount(one.y_meta).tolist() == [7, 7]  # half of the 15 rows that are not for testing
    assert task.draw(lambda: (np.zeros((67, 1)), np.repeat([0, 1], [60, 7])), "clean", None, seed=0) is None


def test_a_review_is_a_random_sample():
    y = np.repeat([0, 1, 2], [900, 300, 60])
    X = np.arange(len(y), dtype=float)[:, None]
    one = task.draw_review(lambda: (X, y), "clean", None, seed=0)
    assert one.reviewed
    assert len(one.y_meta) == 94  # 15 % of the half that is not for testing
    shares = np.bincount(one.y_meta) / len(one.y_meta)
    np.testing.assert_allclose(shares, np.bincount(y) / len(y), atol=0.15)
    parts = [part[:, 0] for part in (one.X, one.X_meta, one.X_test)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), X[:, 0])
    assert len(task.draw_review(lambda: (X, y), "clean", 300, seed=0).y) == 300
    many = task.draw_review(lambda: (np.repeat(X, 10, axis=0), np.repeat(y, 10)), "clean", None, seed=0)
    assert len(many.y_meta) == 200
    few = np.repeat([0, 1], [900, 12])
    assert task.draw_review(lambda: (X[: len(few)], few), "clean", None, seed=0) is None


def test_probabilities_are_of_the_shares_of_the_review(monkeypatch):
    """The intercept of a model without features says which shares the classes had."""
    y = np.repeat([0, 1], [1600, 400])
    one = task.draw_review(lambda: (np.zeros((len(y), 1)), y), "clean", None, seed=0)
    monkeypatch.setitem(MODELS, "LR", LogisticRegression(tol=1e-8))
    cell = {**CELL, "suite": "review", "rows": None}
    names = ("none", "balanced", "trusted only")
    _, lines = run_cell(sources.Source("review", "a", lambda *_: one), cell, {name: ["LR"] for name in names})
    expected = np.mean((one.y_test - one.y_meta.mean()) ** 2)
    assert [line["value"] for line in lines if line["measure"] == "Brier score"] == pytest.approx([expected] * 3)
    assert [line["value"] for line in lines if line["measure"] == "AUC"] == [0.5] * 3


def test_halves_by_name(tmp_path):
    (tmp_path / "keel").mkdir()
    for name in "dbac":
        np.savez(tmp_path / "keel" / f"{name}.npz", X=np.zeros((4, 1)), y=[0, 0, 1, 1])
    found = {source.name: source.half for source in sources.tabular_sources("keel", tmp_path)}
    assert found == {"a": "choose", "b": "confirm", "c": "choose", "d": "confirm"}
    with pytest.raises(SystemExit, match="no tabular"):
        sources.tabular_sources("tabular", tmp_path)


def test_labels_by_annotators(tmp_path):
    X, y = np.arange(60.0)[:, None], np.arange(60) % 2
    np.savez(tmp_path / "crowd.npz", X_train=X, y_train=y, y_majority=1 - y, y_random=0 * y, X_test=X[:5], y_test=y[:5])
    for noise, expected in (("right labels", y), ("majority", 1 - y), ("one annotator", 0 * y)):
        one = sources.annotated(tmp_path / "crowd.npz", noise, None, seed=0)
        train, trusted = one.X[:, 0].astype(int), one.X_meta[:, 0].astype(int)
        assert sorted([*train, *trusted]) == list(range(60))
        assert np.bincount(one.y_meta).tolist() == [15, 15]
        np.testing.assert_array_equal(one.y_meta, y[trusted])
        np.testing.assert_array_equal(one.y_true, y[train])
        np.testing.assert_array_equal(one.y, expected[train])


@pytest.mark.parametrize("rows", ["1\tgood\n0\tbad one\n", "sentence\tlabel\ngood\t1\nbad one\t0\n"])
def test_texts_of_both_formats(tmp_path, rows):
    (tmp_path / "train.tsv").write_text(rows)
    (tmp_path / "dev.tsv").write_text("0\tawful\n")
    (X, y), (X_test, y_test) = texts.read_texts(tmp_path)
    assert (X.tolist(), y.tolist()) == (["good", "bad one"], [1, 0])
    assert (X_test.tolist(), y_test.tolist()) == (["awful"], [0])


def test_out_of_fold_probabilities_have_not_seen_the_label():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, 3)), rng.integers(2, size=300)
    one = task.draw(lambda: (X, y), "clean", None, seed=0)
    own = one.out_of_fold[np.arange(len(one.y)), one.y]
    np.testing.assert_allclose(one.out_of_fold.sum(1), 1)
    assert own.mean() == pytest.approx(0.5, abs=0.06)  # those of a forest that had seen them: .7


# ------------------------------------------------------------------ contenders


def test_class_shares_are_balanced_weights_of_the_union():
    y, y_meta = np.repeat([0, 1, 2], [70, 20, 5]), np.repeat([0, 1, 2], [4, 4, 2])
    w, w_meta = contenders.class_shares(y, np.ones(95), y_meta)
    np.testing.assert_allclose(np.r_[w, w_meta], compute_sample_weight("balanced", np.r_[y, y_meta]))
    within = np.arange(95.0)
    w, w_meta = contenders.class_shares(y, within, y_meta, share=0.3)
    assert w.sum() + w_meta.sum() == pytest.approx(104)  # a row of weight 0 does not count
    assert w_meta.sum() / (w.sum() + w_meta.sum()) == pytest.approx(0.3)
    np.testing.assert_allclose(np.bincount(y, weights=w), w.sum() / 3)
    np.testing.assert_allclose(w[y == 1] / w[y == 1].sum(), within[y == 1] / within[y == 1].sum())
    w, w_meta = contenders.class_shares(y, np.where(y == 2, 0.0, 1.0), y_meta, share=0.3)
    assert w_meta[y_meta == 2].sum() == pytest.approx((w.sum() + w_meta.sum()) / 3)


@pytest.mark.parametrize("share", [None, 0.5])
def test_class_shares_are_the_limit_of_transport(drawn, share):
    limit = OTWeightedClassifier(
        weighter=OTSampleWeighter(label_weight=1.0, reg=1.0), meta_weight="balanced" if share is None else share
    ).fit(drawn.X, drawn.y, X_meta=drawn.X_meta, y_meta=drawn.y_meta)
    plan = contenders.balanced(drawn, share)
    np.testing.assert_allclose(plan.weight, np.r_[limit.sample_weight_, limit.sample_weight_meta_], rtol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_weights_learned_once_serve_all_models(drawn, model):
    alone = OTWeightedClassifier(clone(MODELS[model]), random_state=0)
    alone.fit(drawn.X, drawn.y, X_meta=drawn.X_meta, y_meta=drawn.y_meta)
    shared = contenders.transport(drawn).fit(MODELS[model])
    np.testing.assert_array_equal(shared.predict(drawn.X_test), alone.predict(drawn.X_test))


def test_shapley_values_are_those_of_all_coalitions():
    rng = np.random.default_rng(1)
    X, y, X_meta, y_meta = (
        rng.standard_normal((6, 2)),
        np.array([0, 1, 0, 1, 1, 0]),
        rng.standard_normal((2, 2)),
        [0, 1],
    )
    k, n = 2, 6

    def worth(rows):
        found = []
        for query, label in zip(X_meta, y_meta, strict=True):
            nearest = sorted(rows, key=lambda i: np.linalg.norm(X[i] - query))[:k]
            found.append(sum(y[i] == label for i in nearest) / k)
        return np.mean(found)

    expected = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            factor = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
            for rows in itertools.combinations(others, size):
                expected[i] += factor * (worth([*rows, i]) - worth(rows))
    np.testing.assert_allclose(contenders.shapley_values(X, y, X_meta, np.array(y_meta), k), expected)


def test_confident_learning_prunes_the_wrong_labels():
    rng = np.random.default_rng(0)
    true = rng.integers(3, size=300)
    y = np.where(rng.random(300) < 0.2, (true + 1) % 3, true)
    P = np.full((300, 3), 0.05)
    P[np.arange(300), true] = 0.9
    P += rng.uniform(0, 0.01, P.shape)
    P /= P.sum(1, keepdims=True)
    # a few right labels stay below the mean self-confidence of their class, which holds wrong ones too, in no case here
    np.testing.assert_array_equal(contenders.label_issues(P, y), y != true)
    assert not contenders.label_issues(P, true).any()


def test_confident_learning_leaves_one_row_of_each_label():
    y = np.array([0] * 20 + [1] * 3)
    P = np.repeat([[0.8, 0.2], [0.9, 0.1]], [20, 3], axis=0)  # all three look like the other class
    P[21] = 0.85, 0.15
    assert np.flatnonzero(~contenders.label_issues(P, y)).tolist() == [*range(20), 21]


def test_matching_weights_move_the_mean_to_the_trusted_rows():
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(0, 0.1, (40, 1)), rng.normal(3, 0.1, (40, 1))]
    trusted = np.r_[rng.normal(0, 0.1, (10, 1)), rng.normal(3, 0.1, (30, 1))]
    w = contenders.matching_weights(X, trusted)
    assert (w >= 0).all()
    assert w[:40].sum() / w.sum() == pytest.approx(0.25, abs=0.05)
    assert w.mean() == pytest.approx(1.0, abs=0.1)


@pytest.mark.filterwarnings("ignore:How far the training labels can be trusted is not known")  # of one row a class
def test_every_contender_learns(drawn):
    scores = {}
    for name, contender in contenders.CONTENDERS.items():
        plan = contender(drawn)
        scores[name] = (plan.fit(MODELS["LR"]).predict(drawn.X_test) == drawn.y_test).mean()
        assert len(plan.X) == len(plan.y) > 0, name
    assert min(scores.values()) > 0.7
    assert scores["oracle"] > 0.95
    assert set(contenders.CHEAP) >= {"SMOTE", "EasyEnsemble"} or not contenders.importlib.util.find_spec("imblearn")


def test_weights_of_trusted_models_find_wrong_labels(drawn):
    for name in ("P(y|x) of trusted, both", "self-confidence", "KNN-Shapley", "skotw"):
        weight = contenders.CONTENDERS[name](drawn).train_weight
        assert weight[drawn.right].mean() > 2 * weight[~drawn.right].mean(), name


def test_estimates_are_compared_with_the_truth(drawn):
    weighter = OTSampleWeighter().fit(drawn.X, drawn.y, drawn.X_meta, drawn.y_meta)
    notes = contenders.what_was_learned(type("Fitted", (), {"weighter_": weighter}), drawn)
    truth = [np.mean(drawn.y_true[drawn.y == c] == c) for c in (0, 1)]
    assert notes["precision error"] == pytest.approx(np.abs(weighter.label_reliability_.precision - truth).mean())
    assert notes["precision error"] < 0.15


# ------------------------------------------------------------------ running


QUICK = ["--seeds", "1", "--jobs", "1", "--models", "LR", "--rows", "150"]


@pytest.mark.parametrize(
    ("suite", "more"),
    [
        ("keel", ["--sets", "digit 8"]),
        ("tabular", ["--sets", "wine"]),
        ("review", ["--sets", "digit 8"]),
        ("noise", ["--noise", "majority"]),
        ("synthetic", ["--sets", "10% rare, 5 trusted, easy"]),
        ("rows", ["--sets", "generated 2 classes", "--half", "choose"]),
        ("text", ["--noise", "30 %"]),
    ],
)
def test_suites_run_and_report(suite, more, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SKOTW_DATA", raising=False)
    path = tmp_path / "results.jsonl"
    noise = [] if "--noise" in more else ["--noise", "30 %"]
    # of the contenders, those that networks do not have
    command = ["run", "--suite", suite, *QUICK, *more, *noise, "--results", str(path), "--contenders"]
    names = ["balanced, trusted 0.5", "P(y|x) of trusted, logistic", "skotw, scaled features"]
    assert main([*command, *names]) == 0
    found = ResultsFile(path).read()
    scores = {line["contender"]: line["value"] for line in found if line["measure"] == SCORE}
    assert set(scores) == set(names)
    assert all(0.4 < score <= 1 for score in scores.values())
    size = path.stat().st_size
    assert main([*command, *names]) == 0
    assert path.stat().st_size == size
    main(["report", "--results", str(path), "--out", str(tmp_path / "page")])
    assert {"text": "Text columns", "keel": "KEEL"}.get(suite, suite.capitalize()) in (
        tmp_path / "page" / "quality.rst"
    ).read_text()


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"no contenders \['magic'\]"):
        main(["run", "--suite", "synthetic", "--contenders", "magic"])
    with pytest.raises(SystemExit, match=r"no sets \['moon'\]"):
        main(["run", "--suite", "synthetic", "--sets", "moon"])
    with pytest.raises(SystemExit, match="no results"):
        main(["report", "--results", str(tmp_path / "none.jsonl"), "--out", str(tmp_path)])


CELL = {"suite": "keel", "set": "a", "half": "choose", "noise": "clean", "rows": 10, "seed": 0}


def test_runs_go_on_where_they_were(tmp_path):
    results, asked = ResultsFile(tmp_path / "r.jsonl"), []

    def evaluate(source, cell, todo):
        asked.append(todo)
        if "bad" in todo and len(asked) == 1:
            return cell, [
                record(cell, "bad", None, "error", "no"),
                record(cell, "good", "LR", SCORE, 0.5),
            ]
        return cell, [record(cell, name, m, SCORE, 0.7) for name, models in todo.items() for m in models]

    work = [(sources.Source("keel", "a", None), CELL)]
    names, models = ["good", "bad"], ["LR"]
    assert run(work, results, names, models, evaluate) == 1
    with results.path.open("a") as file:
        file.write('{"cut off')
    assert run(work, results, names, models, evaluate) == 0  # what failed is tried again
    assert run(work, results, names, models, evaluate) == 0
    assert asked == [{"good": ["LR"], "bad": ["LR"]}, {"bad": ["LR"]}]
    assert run(work, results, names, ["LR", "SVC"], evaluate) == 0
    assert asked[2:] == [{"good": ["SVC"], "bad": ["SVC"]}]
    assert run(work, results, ["good"], models, evaluate, again=True) == 0
    values = {(line["contender"], line["model"]): line["value"] for line in results.read() if line["model"]}
    assert values["good", "LR"] == 0.7  # the later line counts
    assert json.loads(results.path.read_text().splitlines()[0])["measure"] == "error"


@pytest.mark.parametrize("reason", ["too few rows of a class", "too many rows for a kernel"])
def test_what_does_not_apply_is_not_tried_again(reason, drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(contenders, "MOST_KERNEL_ROWS", 10)
    one = None if reason.startswith("too few") else drawn
    work = [(sources.Source("keel", "a", lambda noise, rows, seed: one), CELL)]
    results = ResultsFile(tmp_path / "r.jsonl")
    for _ in range(2):
        assert run(work, results, ["kernel mean matching"], ["LR"], run_cell) == 0
        assert [line["value"] for line in results.read() if line["measure"] == SCORE] == [None]
    assert sum(SCORE in line for line in results.path.read_text().splitlines()) == 1


def test_a_failing_contender_does_not_end_the_run(tmp_path, monkeypatch, capsys):
    from benchmarks.quality import run as module

    def broken(task):
        raise RuntimeError("broken on purpose")

    monkeypatch.setitem(module.CONTENDERS, "none", broken)
    command = ["run", "--suite", "tabular", "--sets", "iris", "--noise", "clean", *QUICK]
    assert main([*command, "--contenders", "none", "balanced", "--results", str(tmp_path / "r.jsonl")]) == 1
    assert "1 fits failed" in capsys.readouterr().out
    main(["report", "--results", str(tmp_path / "r.jsonl"), "--out", str(tmp_path)])
    page = (tmp_path / "quality.rst").read_text()
    assert "RuntimeError: broken on purpose" in page
    assert '"balanced"' in page


# ------------------------------------------------------------------ statistics and the page


def frame_of(columns):
    return pd.DataFrame(columns, index=[f"set {i}" for i in range(len(next(iter(columns.values()))))])


def test_means_ranks_and_standard_errors():
    frame = frame_of({"a": [0.5, 0.7, 0.9], "b": [0.6, 0.7, 0.5], "c": [0.1, 0.2, 0.3]})
    found = statistics.means(frame)
    assert found.loc["a", "mean"] == pytest.approx(0.7)
    assert found.loc["a", "se"] == pytest.approx(0.2 / math.sqrt(3))
    assert statistics.average_ranks(frame).to_dict() == pytest.approx({"a": 4.5 / 3, "b": 4.5 / 3, "c": 3})


def test_duels():
    found = statistics.duel([0.5, 0.6, 0.7, 0.8, 0.9, 0.4], [0.4, 0.49, 0.58, 0.67, 0.76, 0.4])
    assert (found["wins"], found["ties"], found["losses"]) == (5, 1, 0)
    assert found["gain"] == pytest.approx(0.6 / 6)
    assert found["se"] == pytest.approx(np.std([0.1, 0.11, 0.12, 0.13, 0.14, 0], ddof=1) / math.sqrt(6))
    assert found["sign"] == pytest.approx(2 * binom.pmf(0, 5, 0.5))
    # five differences of one sign: the smallest of 2^5 sums of ranks, on either side
    assert statistics.duel([1, 2, 3, 4, 5], [0, 0, 0, 0, 0])["wilcoxon"] == pytest.approx(2 / 2**5)
    same = statistics.duel([0.5, 0.5], [0.5, 0.5])
    assert (same["wilcoxon"], same["sign"], same["ties"]) == (1, 1, 2)


def test_share_of_the_gap():
    assert statistics.gap_closed([0.8], [0.7], [0.9]) == pytest.approx(0.5)
    assert np.isnan(statistics.gap_closed([0.8], [0.9], [0.9]))


def lines_of(scores, noise="30 %", suite="keel", model="LR", seed=0):
    """Lines of a results file from {contender: scores of the sets}."""
    cell = {**CELL, "suite": suite, "noise": noise, "seed": seed}
    return [
        record({**cell, "set": f"set {i}"}, name, model, SCORE, value)
        for name, values in scores.items()
        for i, value in enumerate(values)
    ]


def test_scores_are_means_over_models_then_draws_that_are_complete():
    lines = lines_of({"a": [0.5, 0.7], "b": [0.6, 0.8]})
    lines += lines_of({"a": [0.7, 0.9], "b": [0.6, None]}, model="SVC")  # b lacks a model on set 1
    lines += lines_of({"a": [0.2], "b": [0.4]}, seed=1)
    scores = pd.DataFrame(lines).dropna(subset=["value"])
    frame = statistics.over_sets(scores)
    assert frame.index.tolist() == ["set 0"]
    assert frame.loc["set 0"].to_dict() == pytest.approx({"a": (0.6 + 0.2) / 2, "b": (0.6 + 0.4) / 2})


def test_page_has_the_known_answers(tmp_path):
    scores = {
        "balanced": [0.60, 0.70, 0.80, 0.70, 0.65],
        "trusted only": [0.62, 0.68, 0.70, 0.72, 0.66],
        "skotw": [0.70, 0.75, 0.75, 0.80, 0.75],
        "oracle": [0.80, 0.85, 0.85, 0.85, 0.80],
        "scaled, reg 0.1": [0.61, 0.70, 0.80, 0.70, 0.65],
    }
    lines = lines_of(scores)
    for i in range(5):
        cell = {**CELL, "set": f"set {i}", "noise": "30 %"}
        lines.append(record(cell, None, None, "imbalance", 2.0 + i))
        lines.append(record(cell, "skotw", None, "precision error", 0.1))
    page = report.write(lines, tmp_path).read_text()
    # means .69 and .75; differences .10, .05, -.05, .10, .10
    error = np.std([0.1, 0.05, -0.05, 0.1, 0.1], ddof=1) / math.sqrt(5)
    assert f'"30 %","balanced","0.6900","0.7500","+0.0600 ± {error:.4f}","+0.0600 ± {error:.4f}","43%"' in page
    assert '"30 %","balanced","+0.0600 ± 0.0292","4 / 0 / 1"' in page
    assert '"0.375"' in page  # sign test: 2 (1 + 5) / 2^5
    assert '"30 %","set 2","-0.050"' in page
    assert page.count('"30 %","set ') == 1  # the one set that loses
    assert '"skotw","0.7500 ± 0.0158 (1.2)"' in page
    assert '"skotw","0.1000 ± 0.0000"' in page
    assert "Ablation: mean and" in page
    main_table = page.split("csv-table")[1]
    assert "scaled, reg 0.1" not in main_table
    assert {path.name for path in tmp_path.glob("*.svg")} == {"quality_keel_means.svg", "quality_keel_imbalance.svg"}
    assert parse_rst(page) == []
    first = (tmp_path / "quality_keel_means.svg").read_bytes()
    report.write(lines, tmp_path)
    assert (tmp_path / "quality_keel_means.svg").read_bytes() == first  # no changes where nothing has changed


def parse_rst(page):
    """What docutils has to say against the page."""
    docutils = pytest.importorskip("docutils.core")
    tree = docutils.publish_doctree(page, settings_overrides={"report_level": 5, "halt_level": 5})
    return [node.astext() for node in tree.findall() if node.tagname == "system_message"]


def test_page_on_networks(tmp_path):
    lines = lines_of({"plain": [0.5, 0.6], "skotw": [0.6, 0.8], "oracle": [0.7, 0.8]}, suite="image", model="network")
    page = report.write([{**line, "rows": None} for line in lines], tmp_path).read_text()
    assert '"30 %","plain","0.5500","0.7000","+0.1500 ± 0.0500"' in page
    assert parse_rst(page) == []


def test_page_of_one_half(tmp_path):
    lines = lines_of({"balanced": [0.5, 0.6], "skotw": [0.6, 0.7]})
    for line in lines:
        line["half"] = "choose" if line["set"] == "set 0" else "confirm"
    page = report.write(lines, tmp_path, "confirm").read_text()
    assert "Data sets: 1" in page
    assert "0.7000" in page
    assert "0.6500" not in page


def test_page_on_rows_and_lost_tasks(tmp_path):
    lines = []
    for rows, gain in ((700, 0.05), (2500, 0.02)):
        scores = {"balanced": [0.5, 0.6, 0.7], "skotw": [0.5 + gain, 0.6 + gain, 0.65]}
        lines += [{**line, "rows": rows} for line in lines_of(scores, suite="rows")]
    lines += lines_of({"balanced": [0.5, 0.6, 0.7, 0.8], "skotw": [0.5, 0.6, 0.6, 0.8]}, "clean", "synthetic")
    page = report.write(lines, tmp_path).read_text()
    assert '"30 %, 700 rows"' in page
    assert "Gain of skotw on balanced, by rows" in page
    assert '"clean","skotw","25.0%","4"' in page


# ------------------------------------------------------------------ networks


@pytest.fixture
def networks():
    pytest.importorskip("torch")
    pytest.importorskip("skorch")
    from benchmarks.quality import networks

    return networks


@pytest.mark.parametrize("suite", ["image", "text", "pointcloud"])
def test_network_suites_run(networks, suite):
    (source,) = networks.network_sources(suite)
    source = replace(source, training=replace(source.training, stage_1=2, stage_2=1))
    cell = {**CELL, "suite": suite, "noise": "30 %", "rows": None}
    _, records = networks.run_cell(source, cell, {name: ["network"] for name in networks.CONTENDERS})
    assert [line["value"] for line in records if line["measure"] == "error"] == []
    scores = {line["contender"]: line["value"] for line in records if line["measure"] == SCORE}
    assert set(scores) == {*networks.CONTENDERS, "authors, best epoch"}
    assert all(0 <= score <= 1 for score in scores.values())
    assert scores["authors, best epoch"] >= scores["authors"]
    weighed = {line["contender"] for line in records if line["measure"] == "AUC of right labels"}
    assert {"skotw", "Meta-Weight-Net", "authors"} <= weighed


def test_the_residual_network_is_trained_on_augmented_images(networks, monkeypatch):
    from benchmarks._images import toy_images

    toy = toy_images(2)
    monkeypatch.setattr(networks, "_load_cifar", lambda folder, imbalance: toy)
    sources = {source.name: source for source in networks.network_sources("image", "somewhere")}
    small = sources["CIFAR-10-LT, 16 pixels"].make("clean", 100, 0)
    whole = sources["CIFAR-10-LT"].make("clean", 100, 0)
    assert small.X.shape == (len(whole.y), 3, 16, 16)
    np.testing.assert_allclose(small.X.mean((2, 3)), whole.X.mean((2, 3)), atol=1e-5)
    np.testing.assert_allclose(small.X_test[0, 1, 2, 3], whole.X_test[0, 1, 4:6, 6:8].mean(), rtol=1e-5)
    source = sources["CIFAR-10-LT"]
    source = replace(source, training=replace(source.training, stage_1=1, stage_2=1))
    names = ["LDAM-DRW", "skotw"]
    _, records = networks.run_cell(
        source, {**CELL, "noise": "30 %", "rows": 100}, {name: ["network"] for name in names}
    )
    assert [line["contender"] for line in records if line["measure"] == SCORE] == names
    facts = {line["measure"]: line["value"] for line in records}
    assert (facts["n_train"], facts["n_classes"]) == (pytest.approx(100, abs=5), 10)
    assert facts["imbalance"] == pytest.approx(2, abs=0.3)  # fewer rows of every class
    X = np.arange(2 * 3 * 32 * 32, dtype="float32").reshape(2, 3, 32, 32)
    assert networks.augmented([(small.X[0], 4)])[0].shape == (1, 3, 16, 16)
    images, labels = networks.augmented([(X[0], 4), (X[1], 5)])
    assert labels.tolist() == [4, 5]
    assert set(images[1].flatten().tolist()) <= {0.0, *X[1].ravel().tolist()}
    assert len(set(images[1].flatten().tolist())) > 0.7 * X[1].size


def test_losses_of_networks(networks):
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(0)
    logits, y, counts = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1]), torch.tensor([10.0, 4.0, 1.0])
    plain = cross_entropy(logits, y, reduction="none")
    torch.testing.assert_close(networks.focal_loss(logits, y, gamma=0.0), plain)
    torch.testing.assert_close(networks.focal_loss(logits, y), (1 - (-plain).exp()) ** 2 * plain)
    odds = counts * logits.exp()
    expected = -(odds[torch.arange(5), y] / odds.sum(1)).log()
    torch.testing.assert_close(networks.balanced_softmax(logits, y, counts.log()), expected)
    margins = torch.tensor([0.1, 0.3, 0.5])
    by_hand = logits.clone()
    by_hand[torch.arange(5), y] -= margins[y]
    torch.testing.assert_close(networks.ldam_loss(logits, y, margins), cross_entropy(30 * by_hand, y, reduction="none"))
    head, X = networks.NormedHead(4, 3, bias=False), torch.randn(2, 4)
    expected = torch.cosine_similarity(X[:, None], head.weight[None], dim=-1)
    torch.testing.assert_close(head(X), expected)


def test_class_weights_and_trusted_samples_in_the_loss(networks):
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 4)).astype("float32"), np.arange(6) % 2
    X_meta, y_meta = rng.standard_normal((4, 4)).astype("float32"), np.array([0, 1, 0, 1])
    weight = torch.tensor([0.5, 2.0])
    net = networks.LossNet(
        nn.Linear(4, 2), meta=(X_meta, y_meta), class_weight=weight, batch_size=6, lr=0.1, train_split=None, verbose=0,
        max_epochs=1, criterion=nn.CrossEntropyLoss,
    ).initialize()  # fmt: skip
    before = [part.detach().clone().requires_grad_() for part in net.module_.parameters()]
    net.partial_fit(X, y)

    def loss(rows, labels):
        return cross_entropy(torch.as_tensor(rows) @ before[0].T + before[1], torch.as_tensor(labels), reduction="none")

    (weight[torch.as_tensor(y)] * loss(X, y)).mean().add(loss(X_meta, y_meta).mean()).backward()
    for old, new in zip(before, net.module_.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old.detach() - 0.1 * old.grad)


def test_stages_of_learning_rates(networks):
    import torch

    training = networks.Training(networks.digit_network, 3, 3, lr=0.1)
    callback = networks.LearningRate(training)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    found = []
    for epoch in range(1, 7):
        callback.on_epoch_begin(type("Net", (), {"history": [None] * epoch, "optimizer_": optimizer}))
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([0.05, 0.1, 0.1, 0.01, 0.01, 0.001])
