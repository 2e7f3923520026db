"""Inner estimators that balance classes themselves: one warning each, and none where nothing is balanced."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skotw import OTWeightedClassifier
from skotw._estimators.balanced_twice import warn_balanced_twice

rng = np.random.default_rng(0)
X, X_META = rng.normal(size=(30, 3)).astype(np.float32), rng.normal(size=(6, 3)).astype(np.float32)
Y, Y_META = np.arange(30) % 2, np.arange(6) % 2
META = {"X_meta": X_META, "y_meta": Y_META}


def warned(estimator, **params):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        OTWeightedClassifier(estimator, **params).fit(X, Y, **META)
    assert all(warning.filename == __file__ for warning in caught)
    return [str(warning.message) for warning in caught if "corrected twice" in str(warning.message)]


@pytest.mark.parametrize(
    ("estimator", "what"),
    [
        (LogisticRegression(class_weight="balanced"), "class_weight='balanced'"),
        (LogisticRegression(class_weight={0: 1, 1: 2}), "class_weight={0: 1, 1: 2}"),
        (make_pipeline(StandardScaler(), SVC(class_weight="balanced")), "svc__class_weight='balanced'"),
    ],
)
def test_class_weights(estimator, what):
    (message,) = warned(estimator)
    name = what.partition("=")[0]
    assert f"has {what}, and" in message
    assert f"Set {name}=None." in message


@pytest.mark.parametrize("class_weight", [None, {0: 2, 1: 2}])
def test_even_class_weights(class_weight):
    assert warned(LogisticRegression(class_weight=class_weight)) == []


def test_class_weights_of_several_label_columns():
    tree = DecisionTreeClassifier(class_weight=[{0: 1, 1: 2}, {0: 1, 1: 1}])
    with pytest.warns(UserWarning, match="corrected twice"):
        OTWeightedClassifier(tree).fit(X, np.c_[Y, Y], X_meta=X_META, y_meta=np.c_[Y_META, Y_META])


@pytest.mark.parametrize(("scale", "n_warnings"), [(None, 0), (1, 0), (3, 1)])
def test_xgboost(scale, n_warnings):
    xgboost = pytest.importorskip("xgboost")
    found = warned(xgboost.XGBClassifier(n_estimators=1, n_jobs=1, scale_pos_weight=scale))
    assert len(found) == n_warnings
    assert all("has scale_pos_weight=3, and" in message and "Set scale_pos_weight=1." in message for message in found)


@pytest.mark.parametrize(
    ("params", "remedy"),
    [
        ({}, None),
        ({"scale_pos_weight": 1.0, "is_unbalance": False}, None),
        ({"scale_pos_weight": 2.0}, "Set scale_pos_weight=1"),
        ({"is_unbalance": True}, "Set is_unbalance=False"),
        ({"unbalance": True}, "Set unbalance=False"),
        ({"class_weight": "balanced"}, "Set class_weight=None"),
    ],
)
def test_lightgbm(params, remedy):
    lightgbm = pytest.importorskip("lightgbm")
    found = warned(lightgbm.LGBMClassifier(n_estimators=1, n_jobs=1, verbose=-1, **params))
    assert len(found) == (remedy is not None)
    assert all(remedy in message for message in found)


@pytest.mark.parametrize(
    ("params", "remedy"),
    [
        ({}, None),
        ({"auto_class_weights": "None"}, None),
        ({"auto_class_weights": "Balanced"}, "Set auto_class_weights=None"),
        ({"scale_pos_weight": 2}, "Set scale_pos_weight=1"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_catboost(params, remedy, nested):
    catboost = pytest.importorskip("catboost")
    model = catboost.CatBoostClassifier(iterations=1, thread_count=1, verbose=0, allow_writing_files=False, **params)
    found = warned(make_pipeline(StandardScaler(), model) if nested else model)
    assert len(found) == (remedy is not None)
    assert all(remedy.replace("Set ", "Set catboostclassifier__" if nested else "Set ") in message for message in found)


@pytest.mark.parametrize(("weights", "even"), [([1, 1], True), ([1, 2], False), ({0: 1, 1: 2}, False)])
def test_class_weights_of_catboost(weights, even):
    catboost = pytest.importorskip("catboost")
    model = catboost.CatBoostClassifier(class_weights=weights)  # which scikit-learn cannot clone
    with nullcontext() if even else pytest.warns(UserWarning, match="Set class_weights=None"):
        warn_balanced_twice(model)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("BalancedRandomForestClassifier", "RandomForestClassifier"),
        ("RUSBoostClassifier", "AdaBoostClassifier"),
        ("EasyEnsembleClassifier", "BaggingClassifier"),
        ("BalancedBaggingClassifier", "BaggingClassifier"),
    ],
)
def test_ensembles_that_draw_even_classes(name, plain):
    ensemble = pytest.importorskip("imblearn.ensemble")
    (message,) = warned(getattr(ensemble, name)(n_estimators=2), on_unweighted="bootstrap", random_state=0)
    assert f"has {name}(sampling_strategy=" in message
    assert f"Use {plain}, which draws from all rows alike." in message


@pytest.mark.parametrize("given", ["nowhere", "parameter", "instance", "even"])
def test_criterion_of_a_net(given):
    torch, skorch = pytest.importorskip("torch"), pytest.importorskip("skorch")
    weight = torch.tensor([1.0, 1.0 if given == "even" else 3.0])
    params = {
        "nowhere": {"criterion": torch.nn.CrossEntropyLoss},
        "parameter": {"criterion": torch.nn.CrossEntropyLoss, "criterion__weight": weight},
        "even": {"criterion": torch.nn.CrossEntropyLoss, "criterion__weight": weight},
        "instance": {"criterion": torch.nn.CrossEntropyLoss(weight=weight)},
    }[given]
    net = skorch.NeuralNetClassifier(
        torch.nn.Linear, module__in_features=3, module__out_features=2, verbose=0, **params
    )
    found = warned(net.set_params(max_epochs=1, train_split=None), on_unweighted="bootstrap")
    remedies = {"parameter": ["Set criterion__weight=None"], "instance": ["CrossEntropyLoss(weight=...)"]}.get(
        given, []
    )
    assert len(found) == len(remedies)
    assert all(remedy in message for remedy, message in zip(remedies, found, strict=True))
