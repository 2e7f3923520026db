"""The page of results: what the lines of the results file come to, with what speaks against us."""

import csv
import io

import numpy as np
import pandas as pd

from . import statistics
from .contenders import ABLATION, CHEAP, NETWORK_ABLATION

__all__ = ["write"]

OURS, BASE, ORACLE = "skotw", "balanced", "oracle"
VARIANTS = (*ABLATION, *NETWORK_ABLATION)
# Networks have contenders of their own; these need no weights learned from features, and are what ours must beat.
CHEAP_NETWORKS = (
    "plain", "balanced", "trusted only", "focal loss", "LDAM-DRW", "logit adjustment", "balanced softmax",
)  # fmt: skip
SERIOUS_LOSS, LOST_TASK = 0.02, 0.03
DRAWN = ("balanced", "balanced, trusted 0.5", "P(y|x) of trusted, both", "skotw, scaled features", OURS, ORACLE)
INTRODUCTION = """
Quality
=======

Written by ``python -m benchmarks.quality report`` from {n_scores} scores; ``python -m benchmarks.quality run --help``
says how they come about. Scores are balanced accuracies on right labels of rows that nobody trained on. All contenders
have the same trusted rows. A score of a set is the mean over the classifiers and the seeds; means over the sets stand
with their standard errors. *Best cheap* is the one with the highest mean of its column, chosen with hindsight. The
*oracle* is balanced weights without the wrong rows. *Clean* labels are all right; *30 % by class* are wrong by 15 to
45 %, depending on the class. p-values are two-sided, of Wilcoxon's signed ranks and of the sign test over the sets, and
not corrected for their number.{half}
"""


def write(records, folder, half="all"):
    """Write quality.rst and its figures into ``folder``; return the path of the page."""
    if not records:
        raise SystemExit("The results file has no results: run the benchmark first.")
    lines = pd.DataFrame(records)
    if half != "all":
        lines = lines[lines["half"].isna() | (lines["half"] == half)]
    # None, for all, is no number to compare
    lines = lines.assign(rows=pd.to_numeric(lines["rows"]).fillna(0).astype(int))
    is_score = lines["measure"] == "balanced accuracy"
    scores = lines[is_score].dropna(subset=["value"]).astype({"value": float})
    folder.mkdir(parents=True, exist_ok=True)
    note = "" if half == "all" else f"\nOf sets that are in halves, the half to {half} is shown."
    parts = [INTRODUCTION.format(n_scores=len(scores), half=note)]
    for suite in dict.fromkeys(scores["suite"]):
        parts += section(suite, scores[scores["suite"] == suite], lines[lines["suite"] == suite], folder)
    parts += failures(lines)
    path = folder / "quality.rst"
    path.write_text("\n\n".join(part.strip("\n") for part in parts) + "\n")
    return path


def section(suite, scores, lines, folder):
    """Parts of the page on one suite."""
    columns = columns_of(scores)
    main = scores[~scores["contender"].isin(VARIANTS)]
    frames = {column: statistics.over_sets(main[mask.reindex(main.index)]) for column, mask in columns.items()}
    frames = {column: frame for column, frame in frames.items() if len(frame)}
    title = heading({"keel": "KEEL"}.get(suite, suite.capitalize()), "-")
    if not frames:
        return [title, "No draw has a score of every contender."]
    n_sets, n_seeds = scores["set"].nunique(), scores["seed"].nunique()
    models = ", ".join(sorted(scores["model"].unique()))
    used = ", ".join(f"{len(frame)} ({column})" for column, frame in frames.items())
    parts = [
        title,
        f"Data sets: {n_sets}; seeds: {n_seeds}; classifiers: {models}. Sets with all scores: {used}.",
        mean_table(frames),
    ]
    if any(OURS in frame for frame in frames.values()):
        cheap = CHEAP_NETWORKS if models == "network" else tuple(CHEAP)
        parts += [summary_table(frames, cheap), duel_table(frames), model_table(main, columns), *losses(frames)]
    parts += notes(lines, columns_of(lines)) + lost_tasks(suite, main, columns) + ablation(scores, columns)
    return [part for part in [*parts, *figures(suite, frames, lines, folder)] if part]


def columns_of(lines):
    """{name: mask} of the noises, by number of rows where there are several."""
    several = lines["rows"].nunique() > 1
    pairs = lines[["noise", "rows"]].drop_duplicates().itertuples(index=False)
    return {
        f"{noise}, {rows} rows" if several else noise: (lines["noise"] == noise) & (lines["rows"] == rows)
        for noise, rows in pairs
    }


# ---------------------------------------------------------------------------------------------
# Tables


def mean_table(frames):
    summaries = {column: statistics.means(frame) for column, frame in frames.items()}
    ranks = {
        column: statistics.average_ranks(frame.drop(columns=ORACLE, errors="ignore"))
        for column, frame in frames.items()
    }
    names = dict.fromkeys(name for frame in frames.values() for name in frame.columns)
    names = sorted(names, key=lambda name: np.nanmean([s["mean"].get(name, np.nan) for s in summaries.values()]))
    rows = []
    for name in names:
        cells = []
        for column, summary in summaries.items():
            mean, error = (summary[part].get(name, np.nan) for part in ("mean", "se"))
            rank = f" ({ranks[column][name]:.1f})" if name in ranks[column] else ""
            cells.append(with_error(mean, error) + rank)
        rows.append([name, *cells])
    return table("Mean and standard error over the sets, and average rank", ["contender", *frames], rows)


def summary_table(frames, cheap):
    rows = []
    for column, frame in frames.items():
        present = [name for name in cheap if name in frame]
        if OURS not in frame or not present:
            continue
        best = frame[present].mean().idxmax()
        over_best = statistics.duel(frame[OURS], frame[best])
        row = [column, best, f"{frame[best].mean():.4f}", f"{frame[OURS].mean():.4f}", gain(over_best)]
        if BASE in frame:
            row.append(gain(statistics.duel(frame[OURS], frame[BASE])))
            closed = statistics.gap_closed(frame[OURS], frame[BASE], frame[ORACLE]) if ORACLE in frame else np.nan
            row.append("" if np.isnan(closed) else f"{closed:.0%}")
        rows.append(row + [""] * (7 - len(row)))
    header = ["labels", "best cheap", "its mean", OURS, "over best cheap", "over balanced", "gap to oracle closed"]
    return table(f"{OURS} and the best of the cheap ways", header, rows)


def duel_table(frames):
    rows = []
    for column, frame in frames.items():
        for name in frame.columns if OURS in frame else ():
            if name != OURS:
                found = statistics.duel(frame[OURS], frame[name])
                record = f"{found['wins']} / {found['ties']} / {found['losses']}"
                rows.append([column, name, gain(found), record, p_value(found["wilcoxon"]), p_value(found["sign"])])
    header = ["labels", "against", "gain", "wins / ties / losses", "Wilcoxon p", "sign p"]
    return table(f"{OURS} against each contender, over the sets", header, rows)


def model_table(scores, columns):
    """Gain on balanced weights by model family."""
    rows = []
    for model in dict.fromkeys(scores["model"]):
        cells = []
        for mask in columns.values():
            frame = statistics.over_sets(scores[mask.reindex(scores.index) & (scores["model"] == model)])
            known = {OURS, BASE} <= set(frame.columns) and len(frame)
            cells.append(gain(statistics.duel(frame[OURS], frame[BASE])) if known else "")
        rows.append([model, *cells])
    return table(f"{OURS} minus balanced, by classifier", ["classifier", *columns], rows)


def losses(frames):
    """Sets on which balanced weights are better by a margin."""
    found = []
    for column, frame in frames.items():
        if {OURS, BASE} <= set(frame.columns):
            gains = (frame[OURS] - frame[BASE]).sort_values()
            found += [[column, name, f"{value:+.3f}"] for name, value in gains.items() if value < -SERIOUS_LOSS]
    if not found:
        return [f"On no set is {OURS} more than {SERIOUS_LOSS} below balanced weights."]
    title = f"Sets on which {OURS} is more than {SERIOUS_LOSS} below balanced weights"
    return [table(title, ["labels", "set", "difference"], found)]


def notes(lines, columns):
    """What contenders say beside their scores: wrong labels found, precision of labels, and so on."""
    parts = []
    titles = {
        "AUC": "Area under the ROC curve, classes having the shares of the trusted rows",
        "Brier score": "Brier score, smaller being better, classes having the shares of the trusted rows",
        "AUC of right labels": "AUC of right over wrong labels within the class, by the weights of the training rows",
        "precision error": "Estimated minus true precision of a label, mean absolute value",
        "labels without precision": "Share of labels whose precision is not told",
        "reliability": "Estimated reliability of the labels",
    }
    for measure, title in titles.items():
        chosen = lines[(lines["measure"] == measure) & ~lines["contender"].isin(VARIANTS)].dropna(subset=["value"])
        rows = []
        for name, of_name in chosen.groupby("contender"):
            cells = []
            for mask in columns.values():
                by_set = of_name[mask.reindex(of_name.index)].groupby("set")["value"].mean().astype(float)
                cells.append(with_error(by_set.mean(), by_set.std() / np.sqrt(len(by_set))) if len(by_set) else "")
            rows.append([name, *cells])
        if rows:
            parts.append(table(title, ["contender", *columns], rows))
    return parts


def lost_tasks(suite, scores, columns):
    """Share of generated tasks on which something is lost against balanced weights."""
    if suite != "synthetic":
        return []
    rows = []
    for column, mask in columns.items():
        draws = statistics.over_draws(scores[mask.reindex(scores.index)])
        if BASE not in draws:
            continue
        lost = draws.sub(draws[BASE], axis=0) < -LOST_TASK
        names = draws.columns.drop([BASE, ORACLE], errors="ignore")
        rows += [[column, name, f"{lost[name].mean():.1%}", len(draws)] for name in names]
    title = f"Share of tasks that lose more than {LOST_TASK} against balanced weights"
    return [table(title, ["labels", "contender", "share", "tasks"], rows)]


def ablation(scores, columns):
    variants = [name for name in dict.fromkeys(scores["contender"]) if name in VARIANTS]
    if not variants:
        return []
    chosen = scores[scores["contender"].isin([OURS, BASE, "skotw, scaled features", *variants])]
    frames = {column: statistics.over_sets(chosen[mask.reindex(chosen.index)]) for column, mask in columns.items()}
    frames = {column: frame for column, frame in frames.items() if len(frame)}
    return [mean_table(frames).replace("Mean and", "Ablation: mean and", 1)] if frames else []


def failures(lines):
    errors = lines[lines["measure"] == "error"]
    if not len(errors):
        return []
    counts = errors.groupby(["suite", "contender", "value"]).size().reset_index()
    return [
        heading("Fits that failed", "-"),
        table("Errors", ["suite", "contender", "error", "times"], counts.to_numpy()),
    ]


# ---------------------------------------------------------------------------------------------
# Figures


def figures(suite, frames, lines, folder):
    """Draw gains against noise, imbalance and rows; return the parts that show them."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    slug, parts = suite.replace(" ", "_"), []
    by_rows = {column: column.rpartition(", ")[::2] for column in frames}
    several_rows = all(noise for noise, _ in by_rows.values()) and all(r.endswith(" rows") for _, r in by_rows.values())
    for kind, title in (("means", "Mean balanced accuracy"), ("imbalance", "Gain of skotw on balanced, by imbalance")):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        if kind == "imbalance":
            drawn = draw_imbalance(axes, frames, lines)
        elif several_rows:
            drawn, title = draw_rows(axes, frames, by_rows), "Gain of skotw on balanced, by rows"
        else:
            drawn = draw_means(axes, frames)
        if drawn:
            axes.legend(fontsize="small")
            file = f"quality_{slug}_{kind}.svg"
            with rc_context({"svg.hashsalt": "skotw"}):  # the same bytes every time
                figure.savefig(folder / file, metadata={"Date": None})
            parts.append(f".. figure:: {file}\n   :alt: {title}\n\n   {title}.\n")
    return parts


def draw_means(axes, frames):
    names = [name for name in DRAWN if any(name in frame for frame in frames.values())]
    names = names or list(dict.fromkeys(name for frame in frames.values() for name in frame.columns))
    for name in names:
        axes.plot(
            list(frames),
            [frame[name].mean() if name in frame else np.nan for frame in frames.values()],
            "o-",
            linewidth=2.5 if name == OURS else 1.2,
            label=name,
        )
    axes.set(xlabel="labels", ylabel="balanced accuracy")
    return bool(names)


def draw_rows(axes, frames, by_rows):
    drawn = False
    for noise in dict.fromkeys(noise for noise, _ in by_rows.values()):
        points = sorted(
            (int(by_rows[column][1].removesuffix(" rows")), statistics.duel(frame[OURS], frame[BASE]))
            for column, frame in frames.items()
            if by_rows[column][0] == noise and {OURS, BASE} <= set(frame.columns)
        )
        if points:
            rows, found = zip(*points, strict=True)
            axes.errorbar(
                rows, [f["gain"] for f in found], [f["se"] for f in found], marker="o", capsize=3, label=noise
            )
            drawn = True
    finish_gains(axes, "training rows")
    return drawn


def draw_imbalance(axes, frames, lines):
    imbalance = lines[lines["measure"] == "imbalance"].groupby("set")["value"].mean().astype(float)
    drawn = False
    for column, frame in frames.items():
        if {OURS, BASE} <= set(frame.columns) and len(frame) > 2 and column.partition(", ")[0] in ("clean", "30 %"):
            x = imbalance.reindex(frame.index)
            axes.plot(x, frame[OURS] - frame[BASE], "o", alpha=0.7, label=column)
            drawn = True
    finish_gains(axes, "rows of the largest class over rows of the smallest")
    return drawn


def finish_gains(axes, xlabel):
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set(xscale="log", xlabel=xlabel, ylabel="gain in balanced accuracy")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.axhline(0, color="grey", linewidth=0.8)


# ---------------------------------------------------------------------------------------------
# Text


def heading(text, underline):
    return f"\n{text}\n{underline * len(text)}\n"


def table(title, header, rows):
    if not len(rows):
        return ""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([header, *rows])
    body = "".join(f"   {line}\n" for line in text.getvalue().splitlines())
    return f"\n.. csv-table:: {title}\n   :header-rows: 1\n\n{body}"


def with_error(mean, error):
    if np.isnan(mean):
        return ""
    return f"{mean:.4f}" if np.isnan(error) else f"{mean:.4f} ± {error:.4f}"


def gain(found):
    return f"{found['gain']:+.4f}" + ("" if np.isnan(found["se"]) else f" ± {found['se']:.4f}")


def p_value(p):
    return "< .001" if p < 0.001 else f"{p:.3f}"
