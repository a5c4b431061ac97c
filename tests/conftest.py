"""What all tests share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Two pytest workers share two cores, and torch is not imported yet: more threads would only wait for each other.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or "1"

# The same examples everywhere, and no time limit: machines differ.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def _no_test_cuts_the_power() -> Iterator[None]:
    """Files need not reach the disk: what a killed process wrote is there all the same, and each fsync is a wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
