"""For all unit tests: many state properties."""

import tests.examples  # noqa: F401
