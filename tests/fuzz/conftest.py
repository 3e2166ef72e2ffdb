"""How many damaged files are tried: ``--hypothesis-profile long`` tries many."""

from hypothesis import settings

settings.register_profile("long", max_examples=2000, deadline=None)
