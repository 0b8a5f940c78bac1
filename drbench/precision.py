"""float32 means float32: within, an NVIDIA GPU multiplies in IEEE single precision, convolution and matrix alike.

PyTorch's default is TF32 for cuDNN's convolutions and full precision for matrix products. A plain convolution next to
an operator made of matrix products would then be timed, and trained, in another arithmetic than the operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_float32() -> Iterator[None]:
    """No TF32 anywhere; afterwards as before. Other dtypes, and other devices, are not touched."""
    # The older of PyTorch's two ways to say it: both can be read after it, as other libraries do.
    cudnn, cuda = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cudnn, cuda
