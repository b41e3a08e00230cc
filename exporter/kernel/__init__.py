"""User space's side of the kernel's programs: loading them, and reading and writing their pinned maps."""
