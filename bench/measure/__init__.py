"""What is read from a network: accuracy, cost, effective sparsity."""
