"""The way of an act: who did it, where it went, how the policy rules on it, which telemetry reports it."""
