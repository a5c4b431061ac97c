"""What is measured: accuracy, cost, effective sparsity, scores' histogram, memory, latency, and the machine itself."""
