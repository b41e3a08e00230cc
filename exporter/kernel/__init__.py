"""The kernel's side, as user space sees it: loading the programs, and reading what they pinned."""
