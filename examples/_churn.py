"""A business table for several examples: customers of a subscription, of whom 7 in 100 have left.

It is generated, and has what such tables have: dates, categories, gaps in both, and a label that is partly wrong.
"""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skotw.datasets import flip_labels

TODAY = pd.Timestamp("2026-01-01")
WRONG = {0: 0.1, 1: 0.3}  # customers who stayed and are recorded as gone, and the other way round


def customers(n, seed):
    """A table of ``n`` customers, and who has really left (1)."""
    rng = np.random.default_rng(seed)
    years = rng.gamma(1.5, 2.0, n)
    idle = rng.exponential(20.0, n)
    tickets = rng.poisson(0.8, n)
    fee = rng.lognormal(3.2, 0.35, n)
    plan = rng.choice(["monthly", "yearly", "family"], n, p=[0.5, 0.3, 0.2])
    monthly = plan == "monthly"
    # short contracts, silence and unanswered tickets go together
    z = 2.0 * monthly * (years < 2) + 0.06 * idle + 1.2 * tickets * monthly + np.log(fee / 25) - 0.4 * years
    left = rng.random(n) < 1 / (1 + np.exp(5.4 - z))
    table = pd.DataFrame(
        {
            "joined": TODAY - pd.to_timedelta((365 * years).round(), unit="D"),
            "last_login": TODAY - pd.to_timedelta(idle.round(), unit="D"),
            "plan": pd.Categorical(plan),
            "region": pd.Categorical(rng.choice(["north", "south", "east", "west"], n)),
            "fee": fee.round(2),
            "tickets": tickets,
            "newsletter": rng.random(n) < 0.4,
        }
    )
    for column, share in (("last_login", 0.1), ("fee", 0.15), ("region", 0.05)):
        table.loc[rng.random(n) < share, column] = None
    return table, left.astype(int)


def as_recorded(left, seed):
    """What the table says of who has left: partly wrong."""
    return flip_labels(left, WRONG, kind="class-dependent", random_state=seed)


def in_days(table):
    """The table with dates as days before today."""
    dates = table.select_dtypes("datetime")
    return table.assign(**{name: (TODAY - column).dt.days.astype(float) for name, column in dates.items()})


def as_numbers():
    """Step before a model that takes numbers only, for a table in days: categories become columns, gaps medians."""
    fill = SimpleImputer(strategy="median", add_indicator=True)
    return make_column_transformer(
        (make_pipeline(fill, StandardScaler()), make_column_selector(dtype_include=["number", "bool"])),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
        sparse_threshold=0.0,
    )
