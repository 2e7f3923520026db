"""What is printed, recorded and warned of."""

import numpy as np
import pytest

from skotw import OTSampleWeighter
from tests.deep._nets import META, blobs, make_net

X, y = blobs()


def test_print_out_has_the_columns(capsys):
    make_net(verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    for column in ("refit_dur", "transport_cost", "weight_ess", "weight_max"):
        assert column in lines[0]
    assert len({len(line.split()) for line in lines[2:5]}) == 1


def test_collapse_is_reported_once():
    one_each = META[0][np.unique(META[1], return_index=True)[1]], np.arange(3)
    with pytest.warns(UserWarning, match=r"collapsed.*Raise the weighter's reg") as record:
        make_net(meta=one_each, weighter=OTSampleWeighter(reg=1e-3), max_epochs=4).fit(X, y)
    assert len(record) == 1


def test_imbalance_is_no_collapse():
    """The suite turns warnings into errors."""
    rows, labels = blobs((900, 60, 3))
    make_net(weighter=OTSampleWeighter(label_weight=0.9, reg=0.3), train_split=None).fit(rows, labels)
    make_net(weighter=OTSampleWeighter(prior="uniform", reg=1.0), train_split=None).fit(rows, labels)
