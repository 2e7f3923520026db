"""What an epoch does, as a table of epochs and parameters."""

from dataclasses import FrozenInstanceError, asdict

import pytest

from skotw.deep._epoch_plan import EpochPlan, first_weighted_epoch

DEFAULT = {
    "warmup_epochs": 2,
    "refit_every": 1,
    "features": "cached",
    "meta_loss_weight": 0.0,
    "learned": False,
    "other_data": False,
}


def planned(epoch, **params):
    """Names of what the epoch does."""
    return {name for name, value in asdict(EpochPlan.of(epoch, **{**DEFAULT, **params})).items() if value}


@pytest.mark.parametrize(
    ("epoch", "params", "does"),
    [
        (1, {}, {"read"}),
        (2, {}, {"refit", "collect"}),
        # labels are read more and more rarely, until the first refit
        *((epoch, {"warmup_epochs": 9}, {"read"} if epoch in (1, 2, 4, 8) else set()) for epoch in range(1, 9)),
        (3, {"learned": True}, {"stage_2", "weighted", "refit", "collect"}),
        # features from a pass of its own
        (2, {"features": "clean"}, {"refit"}),
        (3, {"features": "clean", "learned": True}, {"stage_2", "weighted", "refit"}),
        # multiples, and the end of stage 1, whether it is one or not
        (2, {"refit_every": 3}, {"refit", "collect"}),
        (3, {"refit_every": 3, "learned": True}, {"stage_2", "weighted", "refit", "collect"}),
        (4, {"refit_every": 3, "learned": True}, {"stage_2", "weighted"}),
        (3, {"refit_every": 3, "warmup_epochs": 5}, set()),
        # mini-batches by themselves, and all of them at the end of stage 1
        (2, {"refit_every": "batch"}, {"refit", "collect"}),
        (3, {"refit_every": "batch"}, {"stage_2", "batchwise", "weighted"}),
        (1, {"refit_every": "batch", "warmup_epochs": 0}, {"stage_2", "batchwise", "weighted"}),
        (3, {"refit_every": "batch", "other_data": True}, {"stage_2", "batchwise", "weighted"}),
        # no stage 1: the first weights come with the first multiple
        (1, {"warmup_epochs": 0}, {"stage_2", "refit", "collect"}),
        (1, {"warmup_epochs": 0, "refit_every": 3}, {"stage_2"}),
        # the epoch that was to learn them was interrupted
        (3, {"refit_every": 10}, {"stage_2", "refit", "collect"}),
        # weights of other data are learned before they are used, in stage 1 not at all
        (3, {"other_data": True, "warmup_epochs": 4}, set()),
        (3, {"other_data": True, "refit_every": 2}, {"stage_2", "catch_up", "weighted"}),
        # trusted samples have a loss in stage 2 only
        (2, {"meta_loss_weight": 1.0}, {"refit", "collect"}),
        (3, {"meta_loss_weight": 1.0, "learned": True}, {"stage_2", "weighted", "meta_loss", "refit", "collect"}),
    ],
)
def test_table(epoch, params, does):
    assert planned(epoch, **params) == does


def test_a_plan_is_a_value():
    plan = EpochPlan.of(3, **DEFAULT)
    assert plan == EpochPlan.of(3, **DEFAULT)
    with pytest.raises(FrozenInstanceError):
        plan.refit = False


@pytest.mark.parametrize("warmup_epochs", [0, 1, 3])
@pytest.mark.parametrize("refit_every", [1, 2, 5, "batch"])
def test_first_weighted_epoch(warmup_epochs, refit_every):
    """As the plans have it, one after the other."""
    params = {**DEFAULT, "warmup_epochs": warmup_epochs, "refit_every": refit_every}
    learned, epoch = False, 0
    while True:
        epoch += 1
        plan = EpochPlan.of(epoch, **{**params, "learned": learned})
        if plan.weighted:
            break
        learned = learned or plan.refit
    assert first_weighted_epoch(warmup_epochs, refit_every) == epoch
