"""Files that people write: YAML as a tree whose nodes know their places, and all that is wrong with it."""
