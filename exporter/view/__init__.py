"""What is shown of jobs on a terminal while they run: lines between COMMAND's own, or a screen of a watch.

Nothing here ever waits for the terminal: what it doesn't take at once is kept, in bounds.
"""
