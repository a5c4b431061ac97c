"""Tables and figures of one plan, made from records alone: no torch, and no number that is not in a record."""
