"""What pipelines are known to connect to: learnt from runs, reviewed as a file, and asked at every act.

Learnt:   span_files → `learn` → `acts` (what a span tells) ─┐
          Prometheus → `prometheus_api` → `prometheus` ──────┴→ `seen` → `onto`, `fold`, `conclude`
Kept:     `write` → the file → `parse`, `entries` → the same `model.Baseline`
Asked:    `novelty`, for each job by `traced.known_by`, at each act by `pipeline.Pipeline`
Reviewed: `compare`, `export` with `sections` (a policy), `dry_run` (what that would have denied,
          by `judge` and `neighbours`)
"""
