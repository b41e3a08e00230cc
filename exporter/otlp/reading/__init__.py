"""Readers of OTLP/JSON: of files, lines, spans and metrics. Their writer may be hostile."""
