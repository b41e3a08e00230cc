"""Export of spans, metrics and log records as OTLP, to collectors and files; accounts for every attempt."""
