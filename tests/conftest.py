"""What all tests share."""

from hypothesis import settings

# The same examples everywhere, and no time limit: machines differ.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")
