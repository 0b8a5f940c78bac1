"""The operator benchmark as runs: `drbench run ops` runs it; `drbench import` imports results of other machines.

`drbench_kernels.bench` measures and does not depend on records. `convert` turns its results into Records, one for each
shape and way. `run` and `files` store them. A layer is a Variant: its architecture is the name of the shape
("1x1-24-24@56"), its operator is the way ("conv", "region_conv2d", ...).
"""
