"""`gpu-check`: whether a CUDA card computes what the CPU does, and how fast; every check takes the device."""
