"""Policies as files have them, for tests."""

from __future__ import annotations

from exporter.jobs.claims import named
from exporter.policy.model import JobPolicy, Policy
from exporter.policy.parse import parse_policy
from exporter.policy.sections import effective
from tests.unit.document_errors import errors_of

NAME = "policy.yaml"

EXAMPLE = """\
version: 1
mode: audit                      # audit | enforce
allow:
  - registry.npm.example:443     # exact name, tcp unless said otherwise; no port means 443
  - "*.wheels.example:443"       # one or more labels below; never the apex
  - 10.20.0.0/16:5432
  - "[2001:db8::/32]:443"
  - udp://192.0.2.53:53
  - icmp://192.0.2.1             # icmp covers ipv6-icmp
  - "mirror.example:*"           # any tcp port; any://mirror.example is every protocol and port
  - {host: github.com, ports: [443], lineage: [git]}   # only if `git` is in the chain
deny:                            # an address deny is final: no granted name overrides it
  - 169.254.169.254              # without a port, a deny means every protocol and port
jobs:                            # more rules for matching pipeline/task names (fnmatch)
  "release/*": {mode: enforce, allow: ["upload.packages.example:443"]}
"""


def policy(text: str) -> Policy:
    """Of a whole file."""
    return parse_policy(text.encode(), NAME)


def rules(*, allow: str = "", deny: str = "", more: str = "") -> JobPolicy:
    """Of rules with a line each, the first of `allow` in line 3."""
    lists = {"allow": allow, "deny": deny}
    parts = (f"{key}:\n" + _items(listed) for key, listed in lists.items() if listed)
    return effective(policy(f"version: 1\n{''.join(parts)}{more}"), named(None, None))


def errors(text: str | bytes) -> list[str]:
    """What is said of an invalid file, without its name."""
    return errors_of(parse_policy, text, NAME)


def _items(listed: str) -> str:
    return "".join(f"  - {line.strip()}\n" for line in listed.strip().splitlines())
