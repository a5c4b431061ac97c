"""Does a folder of results contradict itself? Everything that can be computed twice is, and must agree. No torch.

Hashes alone prove nothing: whoever edits a number can seal it again. So ids are recomputed from configurations, the
plan must be a full product, numbers must fit masks, weights and each other, and test results are read again from the
stored weights. What is not repeated is the training: `make bench OUT=ELSEWHERE` and `compare` do that.
"""
