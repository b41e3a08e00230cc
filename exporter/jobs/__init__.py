"""Recognise CI jobs: find out the job, its run, its claims, and the place of its spans in a trace."""
