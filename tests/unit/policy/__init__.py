"""The policy: parsing, deciding, compiling."""
