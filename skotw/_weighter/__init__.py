"""From rows to weights: everything behind OTSampleWeighter."""
