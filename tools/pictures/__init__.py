"""Pictures of the real thing for the documentation: what a terminal showed, what a server answered.

Tests make them into build/pictures; `make pictures` takes them into docs/pictures.
"""
