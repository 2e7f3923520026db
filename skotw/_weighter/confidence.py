r"""``prior="confidence"``: each row weighs beforehand by how much its label is believed.

The belief in the label y of a row x is :math:`c_y(x) \, q_y(x)^\alpha \, s_y(x)^\gamma`. Here c are the class
probabilities by models of all rows, many and wrong in part, that have not seen x. q are those by models of the trusted
rows alone, few but right. The exponent is the share that the trusted labels hold of what all labels are worth,
:math:`M / (M + v N)`: where rows are many, what a few of them say tells little, and gathers the weight where those lie.
s is v, what a label is worth, plus what the row is worth to nearest neighbours whom the trusted rows judge, in units of
what rows of its label that agree with them are; or 0, where it misleads them by more than v. It counts as far as labels
are not known to be right, and as the trusted rows of every class reach: :math:`\gamma = (1 - v) R^2 / (R^2 + N^2)` with
:math:`R = 100 \min_c M_c`. Where s is 0 it is taken for :math:`10^{-20}`, so that the row weighs next to nothing where
rows are few: models that grow until all rows are told apart heed any more than that. Where rows are many wrong labels
average out, and regions thrown away on the word of a few trusted rows do not: :math:`10^{-20 \gamma}` goes to 1. The
prior is the balanced one times the belief: rows of a class share their mass by it.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier

from .embedding import seed_unset
from .neighbour_value import NeighbourValue
from .supervised import OutOfFold, balanced, fit_learner, learners_for, predict_classes

__all__ = ["Confidence"]

# No model of a few rows is so sure that a label is wrong.
_LEAST = 1e-3


@dataclass(frozen=True, eq=False)
class Confidence:
    """Belief in the labels of any rows.

    Attributes
    ----------
    trusting : list of classifier
        Fitted to the trusted rows.
    out_of_fold : OutOfFold
    value : NeighbourValue or None
        None where rows have no distances.
    """

    trusting: list
    out_of_fold: OutOfFold
    value: NeighbourValue | None

    @classmethod
    def fit(cls, learner, rows, meta, codes, meta_codes, weight, meta_weight, out_of_fold, rng):
        """Of both sets, as the learners take them, and of the models that have seen both."""
        trusting = []
        for unfitted in learners_for(meta, learner, RandomForestClassifier(20)):
            seed_unset(unfitted, rng)
            trusting.append(fit_learner(clone(unfitted), meta, meta_codes, balanced(meta_codes, meta_weight)))
        value = None
        if learner is None:  # which takes rows of any kind
            value = NeighbourValue.fit(rows, codes, weight, meta, meta_codes, meta_weight, rng)
        return cls(trusting, out_of_fold, value)

    def of_labels(self, rows, probabilities):
        """What models of both sets say of each label of rows, models of the trusted ones, and neighbours.

        Returns
        -------
        beliefs : ndarray of shape (3, n, n_classes)
        """
        trusted = np.mean([predict_classes(model, rows, probabilities.shape[1]) for model in self.trusting], axis=0)
        value = np.zeros_like(trusted) if self.value is None else self.value.relative(rows)
        return np.stack([np.maximum(probabilities, _LEAST), np.maximum(trusted, _LEAST), value])
