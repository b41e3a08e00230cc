"""`ci-egress doctor`: what works on this machine."""
