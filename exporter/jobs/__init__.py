"""Recognise CI jobs: which job it is, of which run, and where its spans stand in a trace."""
