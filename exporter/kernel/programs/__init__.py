"""The kernel's programs: their hooks, how each kind is loaded and attached, and the verifier's log."""
