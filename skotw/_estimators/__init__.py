"""From weights to a fitted model: everything behind OTWeightedClassifier and its like."""
