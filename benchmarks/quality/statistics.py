"""Comparisons over data sets: a frame has a row for each set and a column for each contender."""

import numpy as np
import pandas as pd
from scipy.stats import binomtest, wilcoxon

__all__ = ["average_ranks", "duel", "gap_closed", "means", "over_draws", "over_sets"]

TIE = 5e-4  # differences of balanced accuracy that round to nothing


def over_draws(scores):
    """Frame of draws (set, seed) by contenders from lines with a score: the mean over models.

    A contender has a score in a draw where it has one with every model of that draw. Draws in which a contender lacks
    one are left out, unless it has none anywhere.
    """
    draw = ["set", "seed"]
    grouped = scores.groupby([*draw, "contender"])
    mean, count = grouped["value"].mean().unstack(), grouped["model"].nunique().unstack()
    n_models = scores.groupby(draw)["model"].nunique()
    mean = mean.where(count.eq(n_models, axis=0))
    return mean.dropna(axis=1, how="all").dropna(axis=0, how="any")


def over_sets(scores):
    """Frame of sets by contenders: the mean over the draws of each set."""
    return over_draws(scores).groupby(level="set").mean()


def means(frame):
    """Mean over the sets and its standard error, by contender."""
    return pd.DataFrame({"mean": frame.mean(), "se": frame.std(ddof=1) / np.sqrt(len(frame))})


def average_ranks(frame):
    """Mean over the sets of the rank by score, 1 for the best; ties share theirs."""
    return frame.rank(axis=1, ascending=False).mean()


def duel(ours, other):
    """Paired comparison of two columns over the sets.

    Returns
    -------
    result : dict
        Mean "gain" and its standard error "se"; "wins", "ties" and "losses" of ``ours``; two-sided p-values of
        Wilcoxon's signed ranks, "wilcoxon", and of wins and losses alone, "sign".
    """
    difference = np.asarray(ours, float) - np.asarray(other, float)
    n, wins, losses = len(difference), int((difference > TIE).sum()), int((difference < -TIE).sum())
    nonzero = difference[difference != 0]  # as the test takes them; SciPy goes to its approximation for the others
    return {
        "gain": difference.mean(),
        "se": difference.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan,
        "wins": wins,
        "ties": n - wins - losses,
        "losses": losses,
        "wilcoxon": float(wilcoxon(nonzero).pvalue) if len(nonzero) else 1.0,
        "sign": float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0,
    }


def gap_closed(ours, base, ceiling):
    """Share of the mean gap from ``base`` to ``ceiling`` that is closed; NaN where there is none."""
    gap = np.mean(ceiling) - np.mean(base)
    return float((np.mean(ours) - np.mean(base)) / gap) if gap > TIE else np.nan
