r"""How many rows of each label are right, by scores that models have of rows they have not seen.

A score of class k, such as the probability of it out of fold, has some mean :math:`\mu` over rows of the class and
:math:`\nu` over others. What the trusted rows have of it tells both. If the share p of the rows labelled k is of class
k, and the share q of those labelled otherwise is not, their mean scores are

.. math::

   s = p \mu + (1 - p) \nu , \qquad \bar s = (1 - q) \mu + q \nu ,

linear in both shares, whatever the models are worth: scores that are wrong alike for all rows of a class do no harm
(adjusted counts; Forman, 2008; Lipton et al., 2018). :math:`\mu` and :math:`\nu` rest on a few trusted rows, whose
errors both equations share. Hence a posterior, and not a solution of the two.

**Beforehand** all labels are right with probability 1/2, as for :class:`Posterior`. Else class k loses its label at a
rate :math:`\rho_1`, and others take it at a rate :math:`\rho_0`, whose log odds scatter by some :math:`\tau` around
those of :math:`\rho` and :math:`\rho / (K - 1)`, which all labels have in common. The share of the label, f, is known:
with :math:`\pi` that of the class,

.. math::

   \pi (1 - \rho_1) = p f , \qquad (1 - \pi) \rho_0 = (1 - p) f ,

so that the rates are worth a p and a q. Rare labels are wrong more often than common ones at equal rates. What the
other labels say of :math:`\rho` and :math:`\tau` counts for each, but for two classes, where it is the same said twice.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.special import expit, logit, logsumexp

from skotw._transport.arrays import take
from skotw.meta._sampling import choose_evenly

from .label_reliability import LARGEST_SE
from .supervised import balanced

__all__ = ["label_precision", "linear_scores", "precision_of_scores"]

# Trusted rows that are asked: of more the standard errors are small.
_MAX_ASKED = 500
# Of a score that may be anything in [0, 1]: a class has seen one such row beforehand, so that three rows that happen to
# be alike do not make a mean certain.
_VARIANCE_UNSEEN = 1.0 / 12.0
# Standard errors by which scores of a class and of others must differ.
_SEPARATION = 2.0
# Readings this many standard errors from all that precisions can explain tell nothing.
_MISFIT = 5.0
# Power of the probabilities out of fold.
_SHARPNESS = 2.0
# Penalty of the linear scores in units of the rows' mean square, and that of their constant in the penalty's.
_PENALTY, _CONSTANT = 0.3, 0.01
# Rows whose mean square about their mean is less, relative to that about 0, are the same but for rounding.
_ROUNDING = 1e-9
# What the wrong rows of a label are of beforehand weighs so much beside what they look like.
_SHARE_OF_PRIOR = 0.05

# Quadrature: common rates and their spreads, rates of the class, precisions.
_RATES = 0.45 * (np.arange(12) + 0.5) / 12
_SPREADS = np.array([0.3, 0.8, 1.5])
_LOG_ODDS = np.linspace(-5.5, 4.0, 34)[:, None]
_ANGLES = (np.arange(48) + 0.5) / 48 * np.pi / 2
_PRECISIONS, _STEPS = np.sin(_ANGLES) ** 2, np.sin(2 * _ANGLES)
_GRID = len(_LOG_ODDS), len(_ANGLES)


def linear_scores(rows, meta, meta_codes, meta_weight, n_classes):
    """Scores of each class by the linear discriminant of the trusted rows: of rows, and of these, each left out.

    It is least squares on the classes with a penalty of the size of the rows, which leaves one row out in closed form.

    Parameters
    ----------
    rows, meta : {ndarray, CSR matrix} of shape (n, d), of shape (M, d)
    meta_codes, meta_weight : ndarray of shape (M,)
    n_classes : int

    Returns
    -------
    scores, meta_scores : ndarray of shape (n, n_classes), of shape (M, n_classes)
        In [0, 1].
    """
    root = np.sqrt(balanced(meta_codes, meta_weight))
    meta = meta.astype(np.float64)
    gram = meta @ meta.T
    gram = gram.toarray() if sparse.issparse(gram) else gram
    # from the mean, which sparse rows themselves are not moved to
    share = root**2 / (root**2).sum()
    from_zero, to_mean = share @ np.diag(gram), gram @ share
    gram = gram - to_mean[:, None] - to_mean + share @ to_mean
    penalty = _PENALTY * max(share @ np.diag(gram), _ROUNDING * from_zero) or 1.0
    inverse = np.linalg.inv(root[:, None] * (gram + penalty / _CONSTANT) * root + penalty * np.eye(len(root)))
    target = (meta_codes[:, None] == np.arange(n_classes)) - 1.0 / n_classes
    dual = inverse @ (root[:, None] * target)
    left_out = target - dual / (np.diag(inverse) * root)[:, None]
    dual *= root[:, None]
    slopes = meta.T @ (dual - share[:, None] * dual.sum(axis=0))
    constant = penalty / _CONSTANT * dual.sum(axis=0) - share @ (meta @ slopes)
    scores = rows @ slopes.astype(rows.dtype, copy=False) + constant
    return np.clip(scores + 1.0 / n_classes, 0.0, 1.0), np.clip(left_out + 1.0 / n_classes, 0.0, 1.0)


def label_precision(rows, meta, codes, meta_codes, weight, meta_weight, probabilities, meta_probabilities):
    """Precision of every label, and its standard error, NaN where unknown.

    Parameters
    ----------
    rows, meta : {ndarray, CSR matrix} of shape (n, d), of shape (M, d), or None
        None where they have no numbers, and only the probabilities are asked.
    codes, meta_codes : ndarray of shape (n,), of shape (M,)
    weight, meta_weight : ndarray of shape (n,), of shape (M,)
    probabilities, meta_probabilities : ndarray of shape (n, n_classes), of shape (M, n_classes)
        Of classes, out of fold.

    Returns
    -------
    precision, se : ndarray of shape (n_classes,)
    """
    asked = choose_evenly(meta, meta_codes, _MAX_ASKED)
    meta_codes, meta_weight = meta_codes[asked], meta_weight[asked]
    views, meta_views = [_sharper(probabilities)], [_sharper(meta_probabilities[asked])]
    if rows is not None:
        n_classes = probabilities.shape[1]
        of_rows, of_meta = linear_scores(rows, take(meta, asked), meta_codes, meta_weight, n_classes)
        views, meta_views = [*views, of_rows], [*meta_views, of_meta]
    return precision_of_scores(views, meta_views, codes, meta_codes, weight, meta_weight)


def _sharper(probabilities):
    """Nearer to 0 and 1, from which models of wrong labels stay away."""
    powers = np.maximum(probabilities, 1e-12) ** _SHARPNESS
    return powers / powers.sum(axis=1, keepdims=True)


def precision_of_scores(views, meta_views, codes, meta_codes, weight, meta_weight):
    """The same by any scores of the classes.

    Parameters
    ----------
    views, meta_views : list of ndarray of shape (n, n_classes), of shape (M, n_classes)
        Scores of rows and of trusted rows in [0, 1], each by models that have not seen the row.
    codes, meta_codes, weight, meta_weight : ndarray
        As for :func:`label_precision`, whose values are returned.
    """
    n_classes = views[0].shape[1]
    precision, se = np.full((2, n_classes), np.nan)
    present = np.flatnonzero(np.bincount(codes, minlength=n_classes))
    known = np.flatnonzero(np.isin(meta_codes, present))
    K, n_trusted = len(present), np.bincount(meta_codes[known], minlength=n_classes)[present]
    asked = np.flatnonzero(n_trusted > 1)
    if K < 2 or not len(asked) or n_trusted.min() == 0:
        return precision, se
    of_rows = _Scored.of(views, present, np.searchsorted(present, codes), weight)
    trusted = [view[known] for view in meta_views]
    of_trusted = _Scored.of(trusted, present, np.searchsorted(present, meta_codes[known]), meta_weight[known])
    rest = _rest_of(of_rows, of_trusted)
    readings = [_Reading.of(k, of_rows, of_trusted, rest[k]) for k in asked]
    told = [reading.explained(K) for reading in readings]
    evidence, all_right, mean, square, misfit = (np.array(values) for values in zip(*told, strict=True))
    # for two classes the other label says the same
    others = (K - 2) / (K - 1)
    evidence = (1.0 - others) * evidence + others * evidence.sum(axis=0) - np.log(evidence.shape[1])
    all_right = (1.0 - others) * all_right + others * all_right.sum()
    total = np.logaddexp(logsumexp(evidence, axis=1), all_right)
    belief, right = np.exp(evidence - total[:, None]), np.exp(all_right - total)
    p = (belief * mean).sum(axis=1) + right
    separated = np.array([reading.separates for reading in readings])
    # few wrong labels pass for none
    unseen = np.array([reading.unseen for reading in readings])
    error = np.sqrt(np.maximum((belief * square).sum(axis=1) + right * (1.0 + unseen) - p**2, 0.0))
    tells = separated & (error <= LARGEST_SE) & (misfit <= _MISFIT**2)
    precision[present[asked[tells]]] = np.clip(p[tells], 0.0, 1.0)
    se[present[asked[separated]]] = error[separated]
    return precision, se


@dataclass(frozen=True, eq=False)
class _Scored:
    """Rows of classes, or of labels, with V scores of each class.

    Attributes
    ----------
    scores : ndarray of shape (V, n, K)
    codes, weight : ndarray of shape (n,)
    mass, size : ndarray of shape (K,)
        Weight of each class, and its effective number of rows.
    mean : ndarray of shape (K, V, K)
        Of each class's scores.
    """

    scores: np.ndarray
    codes: np.ndarray
    weight: np.ndarray
    mass: np.ndarray
    size: np.ndarray
    mean: np.ndarray

    @classmethod
    def of(cls, views, columns, codes, weight):
        """Of scores of which some classes count."""
        K = len(columns)
        scores = np.stack([view if len(columns) == view.shape[1] else view[:, columns] for view in views])
        mass = np.bincount(codes, weight, K)
        size = mass**2 / np.bincount(codes, weight**2, K)
        member = sparse.csr_array((weight / mass[codes], (codes, np.arange(len(codes)))), (K, len(codes)))
        return cls(scores, codes, weight, mass, size, np.stack([member @ view for view in scores], axis=1))

    @cached_property
    def covariances(self):
        """Of the means, (K, K, V, V): for each class among the scores of each."""
        V, K = len(self.scores), len(self.mass)
        out = np.empty((K, K, V, V))
        for c in range(K):
            share = self.weight[self.codes == c] / self.mass[c]
            away = self.scores[:, self.codes == c] - self.mean[c][:, None]
            out[:, c] = np.einsum("vnk,wnk,n->kvw", away, away, share) + _VARIANCE_UNSEEN * np.eye(V) / self.size[c]
            out[:, c] /= self.size[c]
        return out

    def of_label(self, k, direction):
        """Mean and its variance of one score of class k, of rows that carry label k and of the others."""
        score, mine = direction @ self.scores[:, :, k], self.codes == k
        for some in (mine, ~mine):
            share = self.weight[some] / self.weight[some].sum()
            mean, size = share @ score[some], 1.0 / (share @ share)
            yield mean, (share @ (score[some] - mean) ** 2 + _VARIANCE_UNSEEN / size) / size


def _rest_of(of_rows, of_trusted):
    """Of which classes the rows of each label are that are not of its own, (K, K) with zeros on the diagonal.

    The shares of classes under which their mean scores give those of the label, by least squares with a penalty that
    draws to the shares of the labels, half of all for its own.
    """
    K, share = len(of_rows.mass), of_rows.mass / of_rows.mass.sum()
    T, M = (scored.mean.reshape(K, -1) for scored in (of_rows, of_trusted))
    variance = np.diagonal(of_trusted.covariances, axis1=2, axis2=3).mean()
    prior = 0.5 * (share + np.eye(K))
    spread = 0.5 * share * (1.0 - 0.5 * share)
    found = prior + np.linalg.solve(M @ M.T + np.diag(variance / spread), M @ (T - prior @ M).T).T
    found = np.maximum(found, 0.0) + _SHARE_OF_PRIOR * share
    np.fill_diagonal(found, 0.0)
    return found / found.sum(axis=1, keepdims=True)


@dataclass(frozen=True, eq=False)
class _Reading:
    """Mean scores of rows with a label and without it, and of trusted rows of its class and of others.

    Each is a mean and its variance. Of the others there are two mixtures, as there are among rows with the label and
    among those without, of some covariance.
    """

    with_label: tuple
    without: tuple
    of_class: tuple
    rest_with: tuple
    rest_without: tuple
    rest_covariance: float
    share: float  # of the label
    freedom: float  # degrees of it that the variances have

    @classmethod
    def of(cls, k, of_rows, of_trusted, rest_with):
        """Of label k, by the combination of the scores that tells its class from others best."""
        share = of_rows.mass / of_rows.mass.sum()
        rest = np.where(np.arange(len(share)) == k, 0.0, share)
        rest /= rest.sum()
        mean, covariance = of_trusted.mean[:, :, k], of_trusted.covariances[k]
        noise = covariance[k] + np.tensordot(rest**2, covariance, 1)
        direction = np.maximum(np.linalg.solve(noise, mean[k] - rest @ mean), 0.0)
        if not direction.sum() > 0:
            direction = np.ones(len(direction))
        direction /= direction.sum()
        mean, variance = mean @ direction, covariance @ direction @ direction
        # of which classes the wrong rows are is but guessed: their mean may be off by half the classes' spread
        spread = rest_with @ (mean - rest_with @ mean) ** 2 / 4.0
        return cls(
            *of_rows.of_label(k, direction),
            (mean[k], variance[k]),
            (rest_with @ mean, rest_with**2 @ variance + spread),
            (rest @ mean, rest**2 @ variance),
            (rest * rest_with) @ variance,
            share[k],
            max(of_trusted.size[k] + 1.0 / (rest**2 @ (1.0 / of_trusted.size)) - 2.0, 1.0),
        )

    @property
    def separates(self):
        """Whether trusted rows of the class and others differ by more than chance."""
        (mu, mu_var), (nu, nu_var) = self.of_class, self.rest_without
        return mu - nu > _SEPARATION * np.sqrt(mu_var + nu_var)

    @property
    def unseen(self):
        """Variance of what may be wrong of labels that seem right: half-normal, by what the reading alone tells."""
        (mu, mu_var), (nu, _) = self.of_class, self.rest_with
        gap = max(mu - nu, np.sqrt(mu_var))
        return (1.0 - 2.0 / np.pi) * (mu_var + self.with_label[1]) / gap**2

    def log_likelihood(self, p, q):
        """Up to a constant, of a precision p and a share q of the rows without the label; and the squared misfit."""
        (s, s_var), (t, t_var) = self.with_label, self.without
        (mu, mu_var), (nu, nu_var), (nu_t, nu_t_var) = self.of_class, self.rest_with, self.rest_without
        e, f = s - p * mu - (1 - p) * nu, t - (1 - q) * mu - q * nu_t
        ee = p**2 * mu_var + (1 - p) ** 2 * nu_var + s_var
        ff = (1 - q) ** 2 * mu_var + q**2 * nu_t_var + t_var
        ef = p * (1 - q) * mu_var + (1 - p) * q * self.rest_covariance
        det = ee * ff - ef**2
        squared = (e**2 * ff - 2 * e * f * ef + f**2 * ee) / det
        # Student's, since variances of a few trusted rows are guesses
        spread = 0.5 * (self.freedom + 2.0) * np.log1p(squared / self.freedom)
        return -0.5 * np.log(det) - spread, squared

    def explained(self, n_classes):
        """What rates explain of it.

        Returns
        -------
        evidence : ndarray of shape (H,)
            Log of the likelihood under common rates and spreads.
        all_right : float
            The same where all labels are right.
        mean, square : ndarray of shape (H,)
            Of the precision under each.
        misfit : float
            Least squared misfit.
        """
        p, f, loses = (np.broadcast_to(of, _GRID) for of in (_PRECISIONS, self.share, expit(_LOG_ODDS)))
        of_class = p * f / (1 - loses)
        with np.errstate(divide="ignore"):
            takes = (1 - p) * f / (1 - of_class)
        possible = (of_class < 1 - 1e-9) & (takes < 1 - 1e-9)
        p, loses, of_class, takes, f = (of[possible] for of in (p, loses, of_class, takes, f))
        q = (1 - of_class) * (1 - takes) / (1 - f)
        # the density is one of the rates' log odds, and p takes the place of those at which others take the label
        slope = np.abs(f / (1 - of_class) * (1 - takes / (1 - loses)))
        with np.errstate(divide="ignore"):  # where both rates add up to 1 it is 0
            density = np.log(np.broadcast_to(_STEPS, _GRID)[possible] * slope / (takes * (1 - takes)))
        z, z_takes = np.broadcast_to(_LOG_ODDS, _GRID)[possible], logit(takes)
        rate, spread = np.tile(_RATES, len(_SPREADS)), np.repeat(_SPREADS, len(_RATES))
        # minus half the squares of the log odds' distances from the common ones, up to a constant
        pull = np.stack([-0.5 * np.ones(len(rate)), logit(rate), logit(rate / (n_classes - 1))], axis=1)
        prior = (pull / spread[:, None] ** 2) @ np.stack([z**2 + z_takes**2, z, z_takes]) + density
        prior = np.exp(prior - prior.max(axis=1, keepdims=True))
        found, squared = self.log_likelihood(np.append(p, 1.0), np.append(q, 1.0))
        peak = found.max()
        likelihood = np.exp(found[:-1] - peak)
        moments = np.stack([np.ones(len(p)), likelihood, likelihood * p, likelihood * p**2], axis=1)
        norm, zeroth, first, second = np.maximum(prior @ moments, 1e-300).T
        return np.log(zeroth / norm) + peak, found[-1], first / zeroth, second / zeroth, squared.min()
