"""Documents on the destinations of jobs: Markdown for a pull request, one HTML file for everything else.

spans (`--otlp-dir`, a collector's files, or those of a run just over) → read → model → markdown, html
"""
