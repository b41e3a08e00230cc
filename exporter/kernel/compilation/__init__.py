"""From bpf/ to bytecode: the sources, the compiler, the kernel's offsets, and the cache."""
