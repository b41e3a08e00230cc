"""Unit tests state properties, so examples are made alike for all of them."""

import tests.examples  # noqa: F401
