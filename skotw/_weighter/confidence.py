r"""``prior="confidence"``: each row weighs beforehand by how much its label is believed.

The belief in the label y of a row x is :math:`c_y(x) \, q_y(x)^\alpha`, with c the class probabilities by models of all
rows, many and wrong in part, that have not seen x, and q those by models of the trusted rows alone, few but right. The
exponent is the share that the trusted labels hold of what all labels are worth, :math:`M / (M + v N)`: where rows are
many, what a few of them say tells little, and gathers the weight where those lie. The prior is the balanced one times
the belief: rows of a class share its mass by it.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier

from .embedding import seed_unset
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
    """

    trusting: list
    out_of_fold: OutOfFold

    @classmethod
    def fit(cls, learner, meta, meta_codes, meta_weight, out_of_fold, rng):
        """Of trusted rows, as the learners take them, and of the models that have seen both sets."""
        trusting = []
        for unfitted in learners_for(meta, learner, RandomForestClassifier(20)):
            seed_unset(unfitted, rng)
            trusting.append(fit_learner(clone(unfitted), meta, meta_codes, balanced(meta_codes, meta_weight)))
        return cls(trusting, out_of_fold)

    def of_labels(self, rows, probabilities):
        """What models of both sets say of each label of rows, and models of the trusted ones, (2, n, n_classes)."""
        trusted = np.mean([predict_classes(model, rows, probabilities.shape[1]) for model in self.trusting], axis=0)
        return np.maximum(np.stack([probabilities, trusted]), _LEAST)
