"""Build the files of a release, the same bytes from the same commit: `make release`."""
