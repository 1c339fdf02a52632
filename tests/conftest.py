"""What Hypothesis tries is the same in each run: a change is blamed only for what it broke.

``pytest --hypothesis-profile=search`` looks where nobody has looked yet, and longer.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=1000, deadline=None)
settings.load_profile("repeatable")
