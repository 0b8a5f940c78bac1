"""Training: the loop, what a checkpoint keeps, recipes by name."""
