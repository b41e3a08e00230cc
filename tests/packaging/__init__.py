"""What is installed: built as for a release, and run on a real kernel from where it was installed."""
