"""The harness in which pruning criteria compete.

config -> plan (a list of cells) -> dense checkpoint -> scores -> mask -> fine-tune -> measure -> record -> tables
"""

NUMERICS = 1
"""Part of every cell's identity: raised whenever a change may move a number (tests/test_golden.py notices)."""
