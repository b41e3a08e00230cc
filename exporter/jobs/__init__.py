"""Recognising CI jobs: which job, which run, where its spans stand."""
