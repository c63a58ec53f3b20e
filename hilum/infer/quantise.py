"""A network becomes a graph of eight bits, its ranges taken from windows of real cases (post-training, by NNCF)."""

import contextlib
import io
import logging
from collections.abc import Sequence

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.evenly import evenly
from hilum.core.extras import install
from hilum.core.image import Array, Case
from hilum.core.progress import Progress, quiet
from hilum.infer import streamed, windows
from hilum.infer.network import features_of
from hilum.infer.predictor import Predictor
from hilum.infer.runtimes import _openvino
from hilum.prepare.patches import cut

WINDOWS = 64
# From which ranges are taken; NNCF's own default is 300 whole inputs, and these are large.
EACH = 4
# Windows of one case.


def sample(predictor: Predictor, cases: Sequence[Case], seed: int = 0, progress: Progress = quiet) -> list[Array]:
    """Windows (1, C, *patch) of these cases, at most WINDOWS: those with most structure among many, by the seed."""
    rng, found = np.random.default_rng(seed), []
    chosen = evenly(cases, WINDOWS // EACH)
    patch = predictor.plan.patch
    for number, case in enumerate(chosen, 1):
        image = predictor.task.prepare(case, truth=False)["image"]
        tiles = windows.tiling(image.shape[1:], patch, predictor.task.options.overlap)
        places = [[s[int(rng.integers(len(s)))] for s in tiles.starts] for _ in range(4 * EACH)]
        near = [[s - b for s, b in zip(place, tiles.before, strict=True)] for place in places]
        cuts = [np.ascontiguousarray(cut(image, start, patch))[None] for start in near]
        # air teaches nothing about ranges
        found += sorted(cuts, key=lambda one: -float(one.std()))[:EACH]
        progress("windows", number, len(chosen), case.id)
    return found


def graph(predictor: Predictor, examples: Sequence[Array]) -> dict[str, bytes]:
    """{file name: bytes} of the OpenVINO graph with eight bits, of features where the head is computed apart."""
    import torch

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import nncf
    except ImportError as error:
        raise HilumError(
            "HIL-INFER-12", "Quantising needs nncf, which is not installed", install("openvino")
        ) from error
    net = predictor.net if streamed.linear_head(predictor.net) is None else features_of(predictor.net)
    model = _openvino.model(net, torch.from_numpy(examples[0]))
    loud = logging.getLogger("nncf").level
    logging.getLogger("nncf").setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            made = nncf.quantize(model, nncf.Dataset(list(examples)), subset_size=len(examples))
    finally:
        logging.getLogger("nncf").setLevel(loud)
    return _openvino.saved(made, "openvino_int8")
