"""Detection on whole images: padded as the network wants it, found in the image's own pixels."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hilum.core.image import Case, Image
from hilum.core.plan import Plan
from hilum.tasks import _build, _task


@pytest.mark.parametrize(("levels", "size"), [(2, (64, 96)), (3, (64, 96)), (5, (64, 128))])
def test_a_whole_image_has_a_size_that_the_network_takes(
    levels: int, size: tuple[int, int], plan_of: Callable[..., Plan]
) -> None:
    options = {"width": 8, "depth": 1, "levels": levels}
    task = _task.load(plan_of("detect", **{"networks.net.options": options}))
    picture = np.random.default_rng(0).integers(0, 255, (1, 40, 96)).astype(np.uint8)
    case = Case("a", "a", {"image": Image(picture)})
    prepared = task.prepare(case, truth=False)
    whole = task.whole(prepared)
    assert tuple(whole["image"].shape[2:]) == size
    assert np.array_equal(whole["image"][0, :, :40, :96].numpy(), prepared["image"])
    torch.manual_seed(0)
    net = _build.build(task, "net").eval()
    with torch.no_grad():
        found = task.decode(net(*task.inputs(whole)), prepared, case)["boxes"].array
    assert len(found) and found.min() >= 0 and (found[:, 2:] <= [40, 96]).all()
