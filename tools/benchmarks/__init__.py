"""What ``tools/benchmark.py`` measures: this package beside the plain way of doing the same."""
