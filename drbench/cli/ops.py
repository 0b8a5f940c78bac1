"""The options of `drbench run ops`; their defaults are those of `python -m drbench_kernels.bench`."""

from __future__ import annotations

from collections.abc import Mapping

from drbench.cli.options import LIMITS, Option

LAYERS, GPU = "Layers", "GPU"

OPTIONS: Mapping[str, Option] = {
    "set": Option(str, "Group of layer shapes: pointwise (default), 3x3 or all.", LAYERS),
    "shapes": Option(str, "Only these shapes: names or globs, for example 1x1-24-58@28.", LAYERS),
    "quick": Option(bool, "Only six shapes, at batch sizes 1 and 32.", LAYERS),
    "batch_sizes": Option(str, "Batch sizes to time (default: 1,32,128).", LAYERS),
    "passes": Option(str, "Passes to time: forward, forward+backward (default: both).", LAYERS),
    "ways": Option(str, "Only these implementations of a layer: globs.", LAYERS),
    "regions": Option(int, "Number of regions (default: 8).", LAYERS),
    "experts": Option(int, "Number of filters that each region's filter is mixed from (default: 8).", LAYERS),
    "masks": Option(str, "Region maps: smooth, scattered or constant.", LAYERS),
    "dtype": Option(str, "Data type: float32, bfloat16 or float16.", LAYERS),
    "memory_format": Option(str, "Memory format: channels_last or contiguous.", LAYERS),
    "device": Option(str, "Device: auto, cpu or cuda.", LAYERS),
    "threads": Option(int, "CPU threads.", LAYERS),
    "max_seconds": Option(float, "Seconds of samples per implementation.", LIMITS),
    "rounds": Option(int, "Maximum number of samples per implementation.", LIMITS),
    "call_seconds": Option(float, "Skip implementations of others if one call takes longer (seconds).", LIMITS),
    "memory_gib": Option(float, "Skip an implementation that needs more GiB of memory.", LIMITS),
    "graph": Option(bool, "Time CUDA graphs of several calls.", GPU),
    "flush_l2": Option(bool, "Empty the L2 cache before each call.", GPU),
}
