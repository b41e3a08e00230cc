"""How hypothesis makes examples: in CI always the same ones, and nowhere within a time.

Import it where there are properties, before they are decorated. Elsewhere hypothesis isn't needed, and on a
machine that is emulated to import it takes seconds.
"""

import os

import hypothesis

hypothesis.settings.register_profile("default", deadline=None, database=None)
hypothesis.settings.register_profile("ci", deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")
