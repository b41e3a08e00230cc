"""What other tools cost and record, beside ci-egress, in one run: `python -m benchmarks --rivals`."""
