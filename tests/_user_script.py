"""A user's script that calls everything public once, and says what types come back; `mypy --strict` reads it."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, Ridge

import skotw
from skotw import (
    OTResampler,
    OTSampleWeighter,
    OTWeightedClassifier,
    OTWeightedRegressor,
    find_label_errors,
    make_weighted_pipeline,
    ot_sample_weight,
)
from skotw.datasets import flip_labels, make_long_tailed
from skotw.meta import balanced_meta_split, class_prototypes
from skotw.metrics import class_weight_mass, effective_sample_size, mislabel_auc, transport_distance
from skotw.plotting import (
    LabelErrorsDisplay,
    LabelReliabilityDisplay,
    RegularizationPathDisplay,
    SampleWeightDisplay,
    TransportPlanDisplay,
    WeightHistoryDisplay,
)

Array = NDArray[Any]
Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


def data() -> tuple[Floats, Integers, Floats, Integers]:
    X, y = load_iris(return_X_y=True)
    rows: Floats = np.asarray(X)
    labels: Integers = np.asarray(y)
    kept = make_long_tailed(rows, labels, 2.0, class_order="frequency", random_state=0, return_indices=True)
    assert_type(kept, tuple[Floats, Integers, Integers])
    pair = make_long_tailed(rows, labels, imbalance_factor=2, n_max=40, shuffle=False)
    assert_type(pair, tuple[Floats, Integers])
    split = balanced_meta_split(*pair, n_per_class=5, random_state=np.random.RandomState(0))
    assert_type(split, tuple[Floats, Integers, Floats, Integers])
    return split


def weights() -> None:
    X, y, X_meta, y_meta = data()
    noisy, mask = flip_labels(y, 0.2, random_state=0, return_mask=True)
    assert_type(noisy, Integers)
    assert_type(flip_labels(["a", "b", "a"], {"a": 0.5}, kind="class-dependent"), list[str])
    w = ot_sample_weight(X, noisy, X_meta, y_meta, reg=0.1)
    assert_type(w, Array)
    weighter = OTSampleWeighter(metric="euclidean", reg="auto", class_mass={0: 0.5, 1: 0.25, 2: 0.25}, max_weight=5)
    assert_type(weighter.fit(X, noisy, X_meta, y_meta, sample_weight=[1.0] * len(noisy)), OTSampleWeighter)
    assert_type(weighter.fit_weights(X, noisy, X_meta, y_meta), Array)
    assert_type(weighter.weigh(X, y), Array)
    assert_type(weighter.label_confidence(X, y), Floats)
    assert_type(weighter.report().mass_after, Floats)
    found = find_label_errors(X, noisy, X_meta, y_meta, weighter=weighter)
    assert_type(found.indices, Integers)
    assert_type(found.confidence, Floats)
    assert_type(found.n_errors, float)
    assert_type(weighter.transport_plan(X.tolist(), y.tolist()), Array)
    stream = OTSampleWeighter(reg=0.1, cost_scale=1.0, embedding=None)
    assert_type(stream.partial_fit(X, noisy, X_meta, y_meta), OTSampleWeighter)
    other = OTSampleWeighter(reg=0.1, cost_scale=1.0, embedding=None).partial_fit(X, noisy, X_meta, y_meta)
    assert_type(stream.merge(other).set_params(verbose=0), OTSampleWeighter)

    assert_type(effective_sample_size(w), float)
    assert_type(class_weight_mass(w, noisy), dict[Any, float])
    assert_type(mislabel_auc(w, noisy, mask), float)
    assert_type(transport_distance(X, X_meta, noisy, y_meta, sample_weight=w), float)
    assert_type(class_prototypes(X, y, sample_weight=w, n_prototypes=2), tuple[Array, Array, Array])


def estimators() -> None:
    X, y, X_meta, y_meta = data()
    classifier = OTWeightedClassifier(LogisticRegression(max_iter=1000), weighter=OTSampleWeighter(), meta_weight=0.5)
    assert_type(classifier.fit(X, y, X_meta=X_meta, y_meta=y_meta), OTWeightedClassifier)
    assert_type(classifier.predict(X), Array)
    assert_type(classifier.predict_proba(X), Array)
    assert_type(classifier.predict_log_proba(X), Array)
    assert_type(classifier.decision_function(X), Array)
    regressor = OTWeightedRegressor(Ridge(), random_state=0)
    assert_type(regressor.fit(X, X[:, 0], X_meta=X_meta, y_meta=X_meta[:, 0]), OTWeightedRegressor)
    assert_type(regressor.predict(X), Array)
    assert_type(regressor.set_params(random_state=1), OTWeightedRegressor)
    resampler = OTResampler(random_state=0)
    assert_type(resampler.fit(X, y, X_meta=X_meta, y_meta=y_meta), OTResampler)
    X_drawn, y_drawn = resampler.fit_resample(X, y, X_meta=X_meta, y_meta=y_meta)
    assert len(X_drawn) == len(y_drawn)
    with config_context(enable_metadata_routing=True):
        make_weighted_pipeline(LogisticRegression(max_iter=1000)).fit(X, y, X_meta=X_meta, y_meta=y_meta)


def pictures() -> None:
    import matplotlib.pyplot as plt

    X, y, X_meta, y_meta = data()
    weighter = OTSampleWeighter().fit(X, y, X_meta, y_meta)
    assert_type(SampleWeightDisplay.from_estimator(weighter, color="black"), SampleWeightDisplay)
    assert_type(SampleWeightDisplay.from_weights([1.0, 2.0], ["a", "b"]).plot(kind="weights"), SampleWeightDisplay)
    assert_type(LabelReliabilityDisplay.from_estimator(weighter), LabelReliabilityDisplay)
    path = RegularizationPathDisplay.from_estimator(weighter, X, y, X_meta, y_meta, reg=[0.1, 1.0])
    assert_type(path, RegularizationPathDisplay)
    assert_type(TransportPlanDisplay.from_estimator(weighter, X, y), TransportPlanDisplay)
    history = WeightHistoryDisplay(epoch=np.arange(2), effective_size=np.ones(2), largest=np.ones(2))
    assert_type(history.plot(), WeightHistoryDisplay)
    found = find_label_errors(X, y, X_meta, y_meta, weighter=weighter)
    assert_type(LabelErrorsDisplay.from_errors(found), LabelErrorsDisplay)
    plt.close("all")


def networks() -> None:
    import torch
    from torch import Tensor, nn

    from skotw.deep import OTReweighter, OTReweighting, OTWeightedNetClassifier

    X, y, X_meta, y_meta = data()
    reweighter = OTReweighter(OTSampleWeighter(reg=0.1))
    w = reweighter.refit(torch.tensor(X), y, torch.tensor(X_meta), y_meta)
    assert_type(w, Tensor)
    assert_type(reweighter.weigh(torch.tensor(X), y), Tensor)
    assert_type(OTReweighting(meta=5, refit_every="batch", freeze=["0"]).initialize(), OTReweighting)
    net = OTWeightedNetClassifier(
        nn.Sequential(nn.Linear(4, 3)),
        meta=(X_meta.astype(np.float32), y_meta),
        feature_layer="0",
        warmup_epochs=1,
        max_epochs=2,
        criterion=nn.CrossEntropyLoss,
        train_split=None,
        verbose=0,
    )
    net.fit(X.astype(np.float32), y)
    assert_type(net.predict(X.astype(np.float32)), Array)
    assert_type(net.sample_weight_, Array)
    assert_type(net.reweighter_, OTReweighter)


def chunks() -> None:
    import dask.array as da

    from skotw.dask import DaskSampleWeighter

    X, y, X_meta, y_meta = data()
    rows, labels = da.from_array(X, chunks=(50, -1)), da.from_array(y, chunks=50)
    weighter = DaskSampleWeighter(OTSampleWeighter(reg=0.1), sample_size=100, random_state=0)
    assert_type(weighter.fit(rows, labels, X_meta, y_meta), DaskSampleWeighter)
    weighter.weigh(rows, labels).sum().compute()


if __name__ == "__main__":
    assert_type(skotw.__version__, str)
    weights()
    estimators()
    pictures()
    networks()
