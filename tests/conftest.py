"""Property tests draw the same cases in every CI run, and new ones on a developer's machine. All run on the CPU."""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# Bit-equal runs and two processes on one machine are promised of CPUs; tests/test_gpu.py gives its commands the GPU.
os.environ["LPR_TEST_GPUS"] = os.environ.get("LPR_TEST_GPUS", os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
os.environ["CUDA_VISIBLE_DEVICES"] = ""
