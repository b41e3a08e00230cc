"""The vocabulary: the facts that the kernel reports, their layout in bytes, and events made of records."""
