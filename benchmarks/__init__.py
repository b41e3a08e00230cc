"""What tracing costs: `make bench`, or `python -m benchmarks` as root. The table is in docs/benchmarks.md."""
