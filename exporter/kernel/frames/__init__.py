"""Frames that packet sockets send: how they are stopped at the interfaces of each network namespace."""
