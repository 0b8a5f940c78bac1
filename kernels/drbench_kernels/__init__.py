"""The region convolution: reference, the PyTorch path and their registration as torch ops."""
