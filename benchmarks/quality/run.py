"""Run what has not been run: every contender on every draw of every set, the draws in parallel."""

import time
import warnings
from dataclasses import replace

import numpy as np
from joblib import Parallel, delayed, parallel_config
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from skotw.metrics import mislabel_auc

from .contenders import CONTENDERS
from .results import FIELDS, SCORE, failed, record

__all__ = ["MODELS", "cells", "run", "run_cell"]

# Sizes are modest for the sake of time; all else is as scikit-learn has it.
MODELS = {
    "LR": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "SVC": make_pipeline(StandardScaler(), SVC()),
    "forest": RandomForestClassifier(60, random_state=0),
    "boosting": HistGradientBoostingClassifier(max_iter=60, random_state=0),
}


def cells(sources, seeds, half="all", noise=None, rows=None):
    """[(source, fields of its lines)] of what is asked for, seeds last, so that a first look has all sets."""
    chosen = [source for source in sources if half == "all" or source.half in (None, half)]
    return [
        (source, {"suite": source.suite, "set": source.name, "half": source.half, "noise": kind, "rows": n, "seed": s})
        for s in seeds
        for source in chosen
        for kind in source.noise
        if not noise or kind in noise
        for n in (rows or source.rows)
    ]


def run(work, results, names, models, evaluate, jobs=1, again=False):
    """Run the cells and write their lines; return the number of errors.

    Parameters
    ----------
    work : list of (Source, dict)
        As :func:`cells` gives them.
    results : ResultsFile
    names : list of str
        Contenders.
    models : list of str
        Of those that a source has.
    evaluate : callable
        ``evaluate(source, cell, todo) -> (cell, records)``, with ``todo`` a dict of contender: models.
    jobs : int
        Processes.
    again : bool
        Also what has been run.
    """
    done = set() if again else results.finished()
    tasks = []
    for source, cell in work:
        todo = {
            name: [model for model in source.models if model in models and _key(cell, name, model) not in done]
            for name in names
        }
        todo = {name: missing for name, missing in todo.items() if missing}
        if todo:
            tasks.append((source, cell, todo))
    print(f"{len(tasks)} of {len(work)} draws to do, {len(names)} contenders", flush=True)
    start, n_errors = time.perf_counter(), 0
    with parallel_config("loky", inner_max_num_threads=1):
        pool = Parallel(n_jobs=jobs, return_as="generator")
        for i, (cell, records) in enumerate(pool(delayed(evaluate)(*task) for task in tasks), 1):
            results.add(records)
            n_errors += sum(found["measure"] == "error" for found in records)
            spent = time.perf_counter() - start
            left = spent / i * (len(tasks) - i) / 60
            name = f"{cell['suite']} {cell['set']}, {cell['noise']}, {cell['rows']} rows, seed {cell['seed']}"
            print(f"[{i}/{len(tasks)}] {name}; {spent / 60:.1f} min, about {left:.1f} left", flush=True)
    if n_errors:
        print(f"{n_errors} fits failed: see the lines of measure 'error' in {results.path}. They are tried again.")
    return n_errors


def _key(cell, contender, model):
    full = {**cell, "contender": contender, "model": model}
    return tuple(full[name] for name in FIELDS)


def run_cell(source, cell, todo):
    """(cell, records) of one draw."""
    start = time.perf_counter()
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # repeated rows, early stops and the like
        task = source.make(cell["noise"], cell["rows"], cell["seed"])
        records = []
        for name, models in todo.items():
            if task is None:  # too few rows of a class
                records += [record(cell, name, model, SCORE, None) for model in models]
                continue
            try:
                records += _compete(task, cell, name, models)
            except Exception as error:  # one of thousands must not end the run
                records.append(failed(cell, name, error))
    if task is not None:
        records += [record(cell, None, None, fact, value) for fact, value in task.facts().items()]
    records.append(record(cell, None, None, "seconds", time.perf_counter() - start))
    return cell, records


def _compete(task, cell, name, models):
    start = time.perf_counter()
    plan = CONTENDERS[name](task)
    if plan is None:
        return [record(cell, name, model, SCORE, None) for model in models]
    records = [record(cell, name, None, "seconds to plan", time.perf_counter() - start)]
    if plan.train_weight is not None and not task.right.all():
        auc = mislabel_auc(plan.train_weight, task.y, ~task.right)
        if not np.isnan(auc):
            records.append(record(cell, name, None, "AUC of right labels", float(auc)))
    records += [record(cell, name, None, measure, value) for measure, value in (plan.notes or {}).items()]
    for model in models:
        fitted = plan.fit(MODELS[model])
        score = balanced_accuracy_score(task.y_test, fitted.predict(task.X_test))
        records.append(record(cell, name, model, SCORE, float(score)))
        if task.reviewed and task.n_classes == 2 and hasattr(fitted, "predict_proba"):
            records += [record(cell, name, model, *found) for found in _probabilities(task, plan, model)]
    return records


def _probabilities(task, plan, model):
    """[(measure, value)] of a model where classes have the shares that they have among the trusted rows."""
    weight = np.ones(len(plan.y)) if plan.weight is None else plan.weight
    factor = np.bincount(task.y_meta) / np.bincount(plan.y, weight)
    fitted = replace(plan, weight=weight * (factor * len(plan.y) / len(task.y_meta))[plan.y]).fit(MODELS[model])
    p = fitted.predict_proba(task.X_test)[:, 1]
    return [("AUC", float(roc_auc_score(task.y_test, p))), ("Brier score", float(brier_score_loss(task.y_test, p)))]
