"""Show jobs on a terminal while they run: as lines between COMMAND's own, or on the screen of a watch.

Nothing here ever waits for the terminal: output that it doesn't accept at once is kept, within limits.
"""
