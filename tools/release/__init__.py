"""What a release is made of, the same bytes from the same commit: `make release`."""
