"""The operator benchmark: the region convolution beside the plain convolution and what people use instead.

    python -m drbench_kernels.bench --json results.json

needs torch alone (triton on a GPU), so that it runs on machines without the rest of drbench. The file is one JSON
object. Times are in seconds, memory in bytes, dates in UTC:

    format, version   "drbench-ops", 1
    settings          what was asked for, as in `options.Settings`
    sessions          one for each time that the command ran (more than one after --resume):
      command, started, finished
      machine         hostname, os, cpu, cpu_capability, cpus, memory_bytes, gpu, gpu_capability, gpu_memory_bytes,
                      cuda, python, torch, triton
      code            drbench (its version), kernels (a digest of the sources)
      native          the CPU kernels that are loaded: "avx2", "avx512", "neon", or "none: why"
      clock           "wall clock" or "CUDA events"
      rates           gemm_multiply_adds_per_second; copy_bytes_per_second: {bytes read and written: rate}; the best
                      of several times
    results           one for each shape, batch and pass, in the order in which they were measured:
      shape           name, channels, outputs, height, width, kernel, stride, networks
      batch, pass     pass is "forward" (inference) or "forward+backward" (gradients of all arguments)
      session         index into sessions
      finished        when
      regions_present how many of the regions have positions, mean over the samples
      limit           seconds, multiply_adds, bytes, bound ("arithmetic" or "traffic"), gemm_rate and copy_rate (a
                      second, those used), ratio (to conv's time), share (limit over region_conv2d's time); see `limits`
      ways            name -> one of
                        seconds (median of samples), samples (seconds per call), calls (in a sample), path,
                        extra_bytes (see `memory`), ratio (absent in a reference): to (conv or nn.Conv2d), median, p25,
                        p75 and rounds of the paired ratios
                        skipped: the reason, for what would take too long or too much memory, or is not installed
                        failed: what was raised
"""
