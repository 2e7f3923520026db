"""Where trusted rows come from: a balanced split of the data, or prototypes of each class."""

from ._prototypes import class_prototypes
from ._split import balanced_meta_split

__all__ = ["balanced_meta_split", "class_prototypes"]
