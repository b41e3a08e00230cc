"""All targets, and how the inputs are shared out among them: more for what is fast and first in line."""

from __future__ import annotations

from tests.fuzz import (
    baselines,
    decoder,
    dns_messages,
    egress_spans,
    environments,
    hosts,
    learning,
    malformed,
    names,
    otlp,
    pieces,
    policies,
    process_table,
    recordings,
    redaction,
    reports,
    rings,
)
from tests.fuzz.engine import Target

TARGETS = {
    target.name: target
    for target in (
        Target("decoder", decoder.check, 15),
        Target("malformed", malformed.check, 15),
        Target("dns", dns_messages.check, 20),
        Target("environments", environments.check, 12),
        Target("pieces", pieces.check, 3),
        Target("hosts", hosts.check, 9),
        Target("processes", process_table.check, 10),
        Target("redaction", redaction.check, 6),
        Target("names", names.check, 3),
        Target("policies", policies.check, 5),
        Target("baselines", baselines.check, 4),
        Target("rings", rings.check, 3),
        Target("recordings", recordings.check, 2),
        Target("otlp", otlp.check, 2),
        Target("spans", egress_spans.check, 5),
        Target("learning", learning.check, 2),
        Target("reports", reports.check, 2),
    )
}
