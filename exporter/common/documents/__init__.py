"""Files that people write, read as a YAML tree whose nodes know their places; all problems are reported."""
