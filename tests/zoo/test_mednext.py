"""MedNeXt: deep supervision, the paper's sizes, kernels that grow."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.zoo._cost import parameters
from hilum.zoo.mednext import SIZES, Net, upkern


def test_deep_supervision_has_a_head_on_each_decoder_stage_in_training_only() -> None:
    net, x = Net(1, 3, 2, width=4), torch.rand(1, 1, 32, 48)
    out = net(x)["out"]
    assert [tuple(part.shape[1:]) for part in out] == [(3, 32, 48), (3, 16, 24), (3, 8, 12), (3, 4, 6)]
    assert net.strides == [(1, 1), (2, 2), (4, 4), (8, 8)]
    assert torch.equal(net.eval()(x), out[0])
    named = Net(1, {"a": 2, "b": 3}, 2, width=4, deep_supervision=True)(x)
    assert {name: [part.shape[1] for part in parts] for name, parts in named.items()} == {"a": [2] * 4, "b": [3] * 4}


def test_each_head_weighs_half_of_the_next_finer_one_and_none_nothing() -> None:
    shares = catalogue.card("hilum.zoo", "mednext")["supervision"]
    assert len(shares) == len(Net(1, 2, 2, width=4).strides) and sum(shares) == pytest.approx(1)
    assert [low / high for high, low in pairwise(shares)] == pytest.approx([0.5] * 3)


def test_the_count_of_s_by_hand() -> None:
    """Blocks 2 R c^2 + (k^3 + 4 + R) c, and those with a stride, written out for R = 2, k = 3 and widths 32 to 512."""
    encoder = sum(2 * (4 * c * c + 33 * c) for c in (32, 64, 128, 256))
    down = sum(8 * c * c + 36 * c for c in (32, 64, 128, 256))
    up = sum(7 * c * c // 2 + 33 * c for c in (512, 256, 128, 64))
    bottom = 2 * (4 * 512**2 + 33 * 512)
    with torch.device("meta"):
        net = Net(1, 14, 3, deep_supervision=False)
    assert parameters(net) == 64 + 2 * encoder + down + bottom + up + (32 * 14 + 14)


def test_sizes_grow() -> None:
    with torch.device("meta"):
        counts = [parameters(Net(1, 2, 3, size=size, width=8)) for size in SIZES]
    assert counts == sorted(set(counts))


def test_a_small_kernel_grows() -> None:
    small, large = Net(1, 2, 3, width=4), Net(1, 2, 3, width=4, kernel=5)
    state = upkern(small.state_dict(), 5)
    large.load_state_dict(state)
    key = "encoder.0.0.conv1.weight"
    assert state[key].shape == (4, 1, 5, 5, 5) and small.state_dict()[key].shape == (4, 1, 3, 3, 3)
    torch.testing.assert_close(state[key][..., 2, 2, 2], small.state_dict()[key][..., 1, 1, 1])
    flat = upkern({"a.conv1.weight": torch.ones(4, 1, 3, 3)}, 7)["a.conv1.weight"]
    torch.testing.assert_close(flat, torch.ones(4, 1, 7, 7))


def test_sizes_of_images() -> None:
    net = Net(1, 2, 2, width=4).eval()
    with pytest.raises(HilumError, match=r"Pad to \(32, 48\)"):
        net(torch.rand(1, 1, 24, 48))
    with pytest.raises(HilumError, match="one voxel"):
        net(torch.rand(1, 1, 16, 16))


@pytest.mark.parametrize("options", [{"size": "XL"}, {"kernel": 4}, {"kernel": 1}, {"width": 0}])
def test_what_can_not_be_built_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(HilumError, match="HIL-ZOO-03"):
        Net(1, 2, 2, **options)
