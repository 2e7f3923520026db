"""What the weights gain over other uses of the same trusted rows: ``python -m benchmarks.quality --help``."""
