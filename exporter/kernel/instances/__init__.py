"""The life of an instance: it is loaded, switched, taken over from a killed exporter, and stopped."""
