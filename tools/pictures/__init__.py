"""Pictures of the real thing for the documentation: what a terminal showed, what a server answered.

Tests make them in build/pictures; `make pictures` copies them to docs/pictures.
"""
