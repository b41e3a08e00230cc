"""The destinations that pipelines are known to connect to: learnt, reviewed as a file, asked at each attempt.

Learnt:   otlp.reading → `learn` → `acts` (reads a span) ────────┐
          Prometheus → `prometheus_api` → `prometheus` ──────┴→ `seen` → `merge`, `fold`, `conclude`
Kept:     `write` → the file → `parse`, `entries` → the same `model.Baseline`
Asked:    `novelty`, made for each job by exporter/pipeline/job.py, asked at each attempt by core.py beside it
Reviewed: `compare`, `export` with `sections` (a policy), `dry_run` (the runs that it would have broken,
          by `judge` and `neighbours`)
"""
