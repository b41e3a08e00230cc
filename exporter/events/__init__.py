"""The vocabulary: what the kernel tells, its layout in bytes, and how records become events."""
