"""The operator benchmark as runs: `drbench run ops` does it, `drbench import` takes what it left on another machine.

`drbench_kernels.bench` measures, and knows nothing of records; `convert` makes records of what it gives, one for each
shape and way; `run` and `files` keep them. A layer is a Variant whose architecture is the shape's name ("1x1-24-24@56")
and whose operator is the way ("conv", "region_conv2d", ...).
"""
