"""What several criteria share: which parameters can be pruned, and gradients of the loss."""
