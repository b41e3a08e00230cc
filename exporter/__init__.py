"""Trace what every CI/CD job connects to, with eBPF, as OpenTelemetry spans and metrics."""

__version__ = "0.1.0"
