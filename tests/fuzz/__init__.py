"""Hostile input in great numbers: `python -m tests.fuzz`. docs/fuzzing.md tells what each target holds to."""
