"""Instances from outside: they begin, are switched, taken over and ended."""
