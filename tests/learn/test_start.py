"""Starting from given weights: what matches is copied, all is accounted for, and what can not be meant is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.learn import _weights
from hilum.learn._start import Beginning, Report, start


def net_of(name: str, **changes: Any) -> nn.Module:
    """A network in its CARD's tiny form."""
    made: nn.Module = catalogue.load("hilum.zoo", name).Net(
        **{**catalogue.card("hilum.zoo", name)["tiny"]["kwargs"], **changes}
    )
    return made


def other(net: nn.Module) -> dict[str, torch.Tensor]:
    """A state of the same names and shapes with other values."""
    torch.manual_seed(7)
    return {n: torch.randn_like(v) if v.is_floating_point() else v + 5 for n, v in net.state_dict().items()}


def refused(net: nn.Module, weights: dict[str, torch.Tensor], **options: Any) -> HilumError:
    """The refusal; the network must be as it was."""
    before = {n: v.clone() for n, v in net.state_dict().items()}
    with pytest.raises(HilumError) as error:
        start(net, weights, **options)
    assert all(torch.equal(v, before[n]) for n, v in net.state_dict().items())
    return error.value


@pytest.mark.parametrize("name", list(catalogue.cards("hilum.zoo")))
def test_a_whole_state_matches_and_is_copied(name: str) -> None:
    net = net_of(name)
    weights = other(net)
    report = start(net, weights, strict=True)
    assert all(torch.equal(v, weights[n]) for n, v in net.state_dict().items())
    assert report.share == 1 and not report.head
    assert report.matched == {n: v.numel() for n, v in weights.items()}
    assert not (report.reshaped or report.wrong_shape or report.fresh or report.unused)
    assert report.sentence().startswith("100.0% of the network's values come from the file")


def test_every_tensor_is_accounted_for() -> None:
    net = net_of("nnunet", out_channels=5)
    weights = other(net_of("nnunet", out_channels=2))
    del weights["encoder.0.1.conv.bias"]
    weights["extra.weight"] = torch.zeros(3, 4)
    head = net.head.weight.clone()  # type: ignore[union-attr, operator]
    report = start(net, weights)
    assert report.wrong_shape == {"head.weight": 5 * 8, "head.bias": 5} and report.head
    assert report.fresh == {"encoder.0.1.conv.bias": 8} and report.unused == {"extra.weight": 12}
    assert torch.equal(net.head.weight, head)  # type: ignore[union-attr, arg-type]
    total = sum(v.numel() for v in net.state_dict().values())
    assert sum(report.matched.values()) == total - 45 - 8
    assert report.share == pytest.approx(1 - 53 / total)
    rows = report.table()
    assert {r["tensor"] for r in rows} == net.state_dict().keys() | {"extra.weight"} and len(rows) == len(weights) + 1
    row = next(r for r in rows if r["tensor"] == "head.weight")
    assert row["became"] == "wrong shape" and row["values"] == 40
    assert row["shapes"] == "(2, 8, 1, 1) in the file, (5, 8, 1, 1) in the network"
    words = report.sentence()
    assert "2 left fresh for their shape" in words and "1 of the file unused" in words and "head starts fresh" in words
    assert report.facts()["head_fresh"] is True and report.facts()["fresh"] == {"encoder.0.1.conv.bias": 8}


@pytest.mark.parametrize(("old", "new"), [(1, 3), (3, 1), (3, 4), (2, 2)])
def test_mean_keeps_the_answer_to_a_grey_image(old: int, new: int) -> None:
    net, source = net_of("resnet", in_channels=new), net_of("resnet", in_channels=old).eval()
    report = start(net, source.state_dict())
    assert list(report.reshaped) == ([] if old == new else ["stem.0.weight"])
    grey = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(
        net.eval()(grey.expand(-1, new, -1, -1)), source(grey.expand(-1, old, -1, -1)), atol=1e-4, rtol=1e-4
    )


def test_repeat_takes_the_channels_in_turn_and_fresh_takes_none() -> None:
    weights = other(net_of("resnet", in_channels=2))
    net = net_of("resnet", in_channels=4)
    start(net, weights, channels="repeat")
    made = net.state_dict()["stem.0.weight"]
    torch.testing.assert_close(made, weights["stem.0.weight"].repeat(1, 2, 1, 1) / 2)
    report = start(net, weights, channels="fresh")
    assert list(report.wrong_shape) == ["stem.0.weight"] and not report.head
    assert torch.equal(net.state_dict()["stem.0.weight"], made)


def test_only_the_first_convolution_is_reshaped_and_none_where_two_images_share_it() -> None:
    weights = other(net_of("nnunet"))
    weights["decoder.0.0.conv.weight"] = weights["decoder.0.0.conv.weight"][:, :16]
    report = start(net_of("nnunet", in_channels=2), weights)
    assert list(report.reshaped) == ["encoder.0.0.conv.weight"]
    assert list(report.wrong_shape) == ["decoder.0.0.conv.weight"]
    pair = start(net_of("voxelmorph", in_channels=2), other(net_of("voxelmorph")))
    assert not pair.reshaped and list(pair.wrong_shape) == ["encoder.0.conv.weight"]


def test_a_position_embedding_is_interpolated_and_the_class_token_kept() -> None:
    source = net_of("vit")
    weights = other(source)
    ramp = torch.arange(4.0)[:, None].expand(4, 4).reshape(1, 16, 1).expand(1, 16, 24)
    weights["position"] = torch.cat([weights["position"][:, :1], ramp], dim=1)
    net = net_of("vit", image_size=[32, 16])
    report = start(net, weights)
    assert list(report.reshaped) == ["position"]
    made = net.state_dict()["position"]
    assert torch.equal(made[:, 0], weights["position"][:, 0])
    rows = made[0, 1:, 0].reshape(8, 4)
    # rows of a ramp stay a ramp, twice as fine; its ends are held
    torch.testing.assert_close(rows[:, 0], torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]))
    assert torch.equal(rows[:, 0], rows[:, 3])
    # the other way round the old grid, 8 by 4, can not be told from its count
    assert list(start(net_of("vit"), net.state_dict()).wrong_shape) == ["position"]


def twelve() -> dict[str, torch.Tensor]:
    """A ViT of 12 x 16 pixels, three rows of four tokens, whose position is the row."""
    weights = other(net_of("vit", image_size=[12, 16]))
    ramp = torch.arange(3.0)[:, None].expand(3, 4).reshape(1, 12, 1).expand(1, 12, 24)
    weights["position"] = torch.cat([weights["position"][:, :1], ramp], dim=1)
    return weights


def test_as_many_tokens_of_another_grid_are_not_taken_as_they_are() -> None:
    net, weights = net_of("vit", image_size=[16, 12]), twelve()
    before = net.state_dict()["position"].clone()
    report = start(net, weights)
    assert report.unplaced == {"position": 13 * 24} and not report.wrong_shape and report.share < 1
    assert torch.equal(net.state_dict()["position"], before)
    assert "1 left fresh because their grid is not known" in report.sentence()
    row = next(r for r in report.table() if r["tensor"] == "position")
    assert row["became"] == "unplaced" and "has 4 x 3 tokens" in row["shapes"]
    report = start(net, weights, grid=[3, 4])
    assert list(report.reshaped) == ["position"] and not report.unplaced
    assert report.shapes["position"].endswith("from 3 x 4 tokens to 4 x 3")
    made = net.state_dict()["position"]
    assert torch.equal(made[:, 0], weights["position"][:, 0])
    rows = made[0, 1:, 0].reshape(4, 3)
    torch.testing.assert_close(rows, torch.tensor([0, 0.625, 1.375, 2])[:, None].expand(4, 3))
    # where nobody has to guess: the same grid, and a file that has to be of this network
    assert "position" in start(net_of("vit", image_size=[12, 16]), weights, grid=[3, 4]).matched
    assert "position" in start(net_of("vit", image_size=[12, 16]), weights, strict=True).matched
    assert refused(net, weights, strict=True, grid=[3, 4]).code == "HIL-LEARN-22"


def test_a_square_number_of_tokens_need_not_be_a_square() -> None:
    square, long = net_of("vit"), net_of("vit", image_size=[8, 32])
    assert "position" in start(square, other(net_of("vit"))).matched
    assert "position" in start(long, other(net_of("vit"))).unplaced
    assert "position" in start(square, other(long), grid=[2, 8]).reshaped
    assert "position" in start(long, other(long), grid=[2, 8]).matched
    assert "position" in start(long, other(long), grid=[4, 8]).unplaced


def test_a_run_says_how_its_tokens_lie(
    plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"patch": 4, "dim": 24, "depth": 2, "heads": 3}
    plan = plan_of("classify", **{"networks.net": {"name": "vit", "options": options}, "patch": [12, 16]})
    plan.write(tmp_path / "plan.json")
    weights, before = twelve(), torch.get_rng_state()
    assert _weights.grid(tmp_path, weights) == [3, 4] and torch.equal(torch.get_rng_state(), before)
    monkeypatch.setattr(_weights, "read_weights", lambda path: weights)
    report = Beginning(tmp_path)(net_of("vit", image_size=[16, 12]))
    assert list(report.reshaped) == ["position"]
    (tmp_path / "file.pt").write_bytes(b"weights")
    assert _weights.grid(tmp_path / "file.pt", {}) is None
    plan_of("classify", **{"networks.net": {"name": "resnet", "options": {}}}).write(tmp_path / "plan.json")
    assert _weights.grid(tmp_path, {}) is None


def test_another_network_is_refused_with_near_names() -> None:
    error = refused(net_of("resnet"), other(net_of("nnunet")))
    assert error.code == "HIL-LEARN-22" and "at least 20% are needed" in str(error)
    renamed = {n.replace("stages", "stage"): v for n, v in other(net_of("resnet")).items() if "stages" in n}
    error = refused(net_of("resnet"), renamed)
    assert "The network has stem.0.weight" in error.remedy
    renamed = {n.replace("stem", "stam"): v for n, v in renamed.items()} | {"stam.0.weight": torch.zeros(8, 1, 3, 3)}
    assert "Did you mean stam.0.weight" in refused(net_of("resnet"), renamed).remedy
    assert refused(net_of("resnet"), {"weight": torch.zeros(2)}).code == "HIL-LEARN-22"


def test_weights_of_other_dimensions_are_refused_with_both_shapes() -> None:
    error = refused(net_of("nnunet", spatial_dims=3), other(net_of("nnunet")))
    assert error.code == "HIL-LEARN-22"
    assert "encoder.0.0.conv.weight is (8, 1, 3, 3) in the file, (8, 1, 3, 3, 3) in the network" in error.remedy


def test_strict_refuses_what_is_not_whole() -> None:
    whole = other(net_of("resnet"))
    assert refused(net_of("resnet", out_channels=7), whole, strict=True).code == "HIL-LEARN-22"
    assert refused(net_of("resnet", in_channels=2), whole, strict=True).code == "HIL-LEARN-22"
    assert "all are wanted" in refused(net_of("resnet"), whole | {"more": torch.zeros(1)}, strict=True).seen
    less = {n: v for n, v in whole.items() if n != "head.bias"}
    assert refused(net_of("resnet"), less, strict=True).code == "HIL-LEARN-22"


def test_values_that_are_not_finite_are_refused_and_types_converted() -> None:
    net = net_of("resnet")
    weights = {n: v.double() if v.is_floating_point() else v for n, v in other(net).items()}
    weights["head.bias"][1] = float("nan")
    assert refused(net, weights).code == "HIL-M04"
    weights["head.bias"][1] = 1e300  # finite as it is, infinite as float32
    assert refused(net, weights).code == "HIL-M04"
    weights["head.bias"][1] = 2.5
    start(net, weights, strict=True)
    bias = net.state_dict()["head.bias"]
    assert bias.dtype == torch.float32 and float(bias[1]) == 2.5
    whole = weights | {"head.weight": torch.zeros(3, 64, dtype=torch.int8)}
    report = start(net_of("resnet"), whole)
    assert "int8" in report.shapes["head.weight"] and "head.weight" in report.wrong_shape


def test_nothing_matched_is_a_share_of_nothing() -> None:
    assert Report().share == 0 and Report(fresh={"a": 3}).share == 0
