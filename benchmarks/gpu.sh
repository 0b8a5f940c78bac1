#!/usr/bin/env bash
# All that is to be shown on a GPU, into results/gpu/ (or the directory given): operators at N=128 and the whole network,
# inference and training, in bfloat16 and float32, each call launched by itself and in CUDA graphs.
#
#   benchmarks/gpu.sh [DIRECTORY] [options of `python -m drbench_kernels.bench`, as in --device cpu --shapes 1x1-3-4@7]
#
# Needs torch and triton; the network also torchvision and timm, and is left out where they are not. What was measured
# before is kept: a second call goes on. `drbench import DIRECTORY/ops-*.json` takes the operators into a database.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-results/gpu}
shift || true
export PYTHONPATH=".:kernels${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
device=cuda
[[ " $* " == *" --device cpu "* ]] && device=cpu
mkdir -p "$out"
failed=0 # what fails is noted, and the rest goes on

for dtype in ${DTYPES:-bfloat16 float32}; do
    for mode in eager graph; do
        [[ $mode == graph && $device == cpu ]] && continue
        graph=$([[ $mode == graph ]] && echo --graph || true)
        echo "== operators, $dtype, $mode"
        "$python" -m drbench_kernels.bench --json "$out/ops-$dtype-$mode.json" --resume --set all --batch-sizes 128 \
            --dtype "$dtype" $graph "$@" | tee "$out/ops-$dtype-$mode.txt" || failed=$?
    done
done

if "$python" -c "import torchvision, timm, safetensors" 2>/dev/null; then
    for dtype in ${DTYPES:-bfloat16 float32}; do
        for mode in eager graph; do
            [[ $mode == graph && $device == cpu ]] && continue
            graph=$([[ $mode == graph ]] && echo --graph || true)
            echo "== network, $dtype, $mode"
            "$python" benchmarks/network.py --device $device --dtype "$dtype" $graph ${NETWORK_OPTIONS:-} \
                --json "$out/network-$dtype-$mode.json" | tee "$out/network-$dtype-$mode.txt" || failed=$?
        done
    done
else
    echo "== network: left out, it needs torchvision, timm and safetensors"
fi
exit $failed
