"""A policy for what sees every job of the host: it holds one job to it, which only these tests have."""

from __future__ import annotations

from tests.kernel.job_steps import PEER

TASK = "packaged"
"""That job's name."""
POLICY = f'version: 1\ntrust_names: true\njobs:\n  "*/{TASK}": {{mode: enforce, allow: ["{PEER}"]}}\n'
"""It may connect to the peer. What others do isn't denied, so that they may go on meanwhile."""
