"""Latency: seconds from handing over a case to its finished findings, one case at a time.

Included: reading the image from the disk, preparing it, the network, and turning its output into findings. Not
included: starting the program, loading the weights, reading the truth, judging, writing. Of masks with 16 classes or
fewer it is more than a prediction takes: the evaluation judges wide masks and how sure voxels are, so the call that is
timed also makes wide masks and holds the scores of all voxels. The first case that gives a result warms up (memory,
threads, compiled code) and has no latency. Files were read before, while cases were grouped, so the system may still
hold them in memory. The number is of this machine while it did whatever else it did. Generated images are made in
batches: one number, seconds per image, after one image to warm up.
"""

CARD = {
    "better": "lower",
    "unit": "s",
    "range": [0, None],
    "level": "case",
    "takes": "seconds",
    "aggregate": "mean over cases but the first",
    "missing": "left out: without a result there is no time until it",
    "empty": "the case that warms up: undefined; so with one case only",
    "source": "wall clock around one call of the predictor (time.perf_counter), which of masks also makes wide ones",
}


def measure(began: float, ended: float) -> float:
    """began, ended: seconds on one monotonic clock. Returns seconds, 0 upwards."""
    if not ended >= began:
        raise ValueError(f"it ended at {ended} s, before it began at {began} s")
    return ended - began
