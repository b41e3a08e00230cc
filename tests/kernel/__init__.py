"""Tests with the real kernel: programs in network namespaces over veth, watched while they act. Need root."""
