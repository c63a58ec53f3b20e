"""3D TransUNet: the parts counted, queries and masks by their formulas, what training gets, refusals."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.losses.matching import matching
from hilum.zoo._cost import parameters
from hilum.zoo.transunet3d import CARD, Net, QueryDecoder, QueryLayer, open_rows, semantic, sines

TINY: dict[str, Any] = {
    **{k: v for k, v in CARD["tiny"]["kwargs"].items() if k not in ("in_channels", "out_channels")},  # type: ignore[index]
    "features": [4, 8, 8, 8],
    "strides": [1, 2, 2, [1, 2, 2]],
}
KINDS = ["encoder", "decoder", "both"]
# The card's tiny form has one resolution to read; this one has two.


def small(out_channels: Any = 2, **options: Any) -> Net:
    torch.manual_seed(0)
    return Net(1, out_channels, **{**TINY, **options})


def image(seed: int = 0) -> Tensor:
    return torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(seed))


def queries_of(net: Net) -> QueryDecoder:
    assert isinstance(net.head, QueryDecoder)
    return net.head


def test_the_parts_have_the_counts_of_their_descriptions() -> None:
    golden = {entry["kwargs"]["kind"]: entry["kwargs"] for entry in CARD["golden"]}  # type: ignore[attr-defined]
    with torch.device("meta"):
        nets = {kind: Net(**kwargs) for kind, kwargs in golden.items()}
    tokens = nets["encoder"].tokens
    assert tokens is not None and parameters(tokens) - parameters(tokens.back) == 85385472
    assert parameters(nets["encoder"]) - parameters(tokens) == 31173184
    head = queries_of(nets["decoder"])
    outside = parameters(head.scales) + parameters(head.mask_features)
    assert outside == 94080 and parameters(head) - outside == 2790346
    assert parameters(nets["both"]) == parameters(nets["encoder"]) + parameters(head)
    assert [scale[0].in_channels for scale in head.scales] == [256, 128, 64]  # type: ignore[index]
    assert head.mask_features.in_features == 32


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns_in_every_form(kind: str) -> None:
    net = small(kind=kind, deep_supervision=True)
    levels = net(image())["out"]
    full = [(16, 16, 16)] * (1 if kind == "encoder" else 2)
    assert [tuple(level.shape[2:]) for level in levels] == [*full, (8, 8, 8), (4, 4, 4)]
    torch.stack([(level * torch.randn_like(level)).sum() for level in levels]).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.ndim < 2 or parameter.grad.abs().sum() > 0, name
    torch.testing.assert_close(net.eval()(image()), levels[0])


@pytest.mark.parametrize("kind", KINDS)
def test_named_heads_are_lists_in_training(kind: str) -> None:
    net = small({"organ": 3, "vessel": 2}, kind=kind, deep_supervision=True)
    out = net(image())
    count = 3 if kind == "encoder" else 4
    assert {name: [part.shape[1] for part in parts] for name, parts in out.items()} == {
        "organ": [3] * count,
        "vessel": [2] * count,
    }
    assert {name: part.shape[1] for name, part in net.eval()(image()).items()} == {"organ": 3, "vessel": 2}


def blobs() -> Tensor:
    """Two images (2, 16, 16, 16): background, a large class 1 and a small class 2, which the second one lacks."""
    target = torch.zeros(2, 16, 16, 16, dtype=torch.long)
    target[0, 2:12, 2:12, 2:12], target[1, 5:15, 1:9, 4:14] = 1, 1
    target[0, 4:8, 12:16, 3:8] = 2
    return target


def seen(target: Tensor) -> Tensor:
    """What classes look like, with noise: (2, 1, 16, 16, 16)."""
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    return (torch.tensor([0.0, 1.0, -1.0])[target] + 0.2 * noise).unsqueeze(1)


@pytest.mark.parametrize("kind", ["decoder", "both"])
def test_queries_are_handed_out_in_training_only(kind: str) -> None:
    net = small(3, kind=kind, deep_supervision=False)
    out = net(image())
    assert set(out) == {"out", "classes", "masks"} and len(out["out"]) == 1
    assert [tuple(part.shape) for part in out["classes"]] == [(2, 4, 4)] * 3
    assert [tuple(part.shape) for part in out["masks"]] == [(2, 4, 16, 16, 16)] * 3
    for (classes, masks), mine, own in zip(net.queries(image()), out["classes"], out["masks"], strict=True):
        assert isinstance(classes, Tensor)
        torch.testing.assert_close((mine, own), (classes, masks))
    torch.testing.assert_close(out["out"][0], semantic(out["classes"][-1], out["masks"][-1].sigmoid()))
    torch.testing.assert_close(net.eval()(image()), out["out"][0])
    assert isinstance(small(kind="encoder", deep_supervision=False)(image()), Tensor)


@pytest.mark.parametrize("kind", ["decoder", "both"])
@pytest.mark.parametrize("tiny", [True, False])
def test_the_matching_loss_alone_reaches_every_parameter(kind: str, tiny: bool) -> None:
    torch.manual_seed(0)
    form: dict[str, Any] = {"kind": kind, "deep_supervision": False}
    net = Net(**{**CARD["tiny"]["kwargs"], **form}) if tiny else small(**form)  # type: ignore[index]
    out = net(image())
    matching(out["classes"], out["masks"], blobs().clamp_max(1)).backward()  # type: ignore[no-untyped-call]
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.ndim < 2 or parameter.grad.abs().sum() > 0, name


def test_two_classes_of_different_size_are_both_found() -> None:
    """By the matching loss alone; a loss on the map alone often leaves the smaller class out."""
    net, target = small(3, kind="decoder", features=[4, 8, 8], strides=[1, 2, 2], query_layers=1), blobs()
    x, optimiser = seen(target), torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(150):
        out = net(x)
        loss = matching(out["classes"], out["masks"], target)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if float(loss.detach()) < 0.01:
            break
    with torch.no_grad():
        found = net.eval()(x).argmax(1)
    for kind in (1, 2):
        both = ((found == kind) & (target == kind)).sum()
        assert 2 * both > 0.8 * ((found == kind).sum() + (target == kind).sum()), kind


def test_without_queries_the_head_reads_the_features() -> None:
    net = small(kind="encoder").eval()
    torch.testing.assert_close(net(image()), net.head(net.features(image())))
    with pytest.raises(HilumError, match="no queries"):
        net.queries(image())


def test_the_map_is_the_sum_over_queries() -> None:
    net = small(3).eval()
    classes, masks = net.queries(image())[-1]
    assert isinstance(classes, Tensor) and classes.shape == (2, 4, 4) and masks.shape == (2, 4, 16, 16, 16)
    shares, wanted = classes.softmax(-1), torch.zeros(2, 3, 16, 16, 16)
    for query in range(4):
        for k in range(3):
            wanted[:, k] += shares[:, query, k].view(2, 1, 1, 1) * masks[:, query].sigmoid()
    torch.testing.assert_close(net(image()).exp(), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(image()).softmax(1), wanted / wanted.sum(1, keepdim=True), rtol=1e-4, atol=1e-4)


def test_a_query_that_sees_no_object_paints_nothing() -> None:
    classes = torch.tensor([[[50.0, 0.0, 0.0], [0.0, 0.0, 50.0]]])
    masks = torch.tensor([[[0.9, 0.1], [1.0, 1.0]]]).unsqueeze(-1)
    torch.testing.assert_close(semantic(classes, masks).exp()[0, :, :, 0], torch.tensor([[0.9, 0.1], [0.0, 0.0]]))


def test_the_order_of_the_queries_does_not_matter() -> None:
    net = small().eval()
    head, before = queries_of(net), net(image())
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        head.start.copy_(head.start[order].clone())
        mixed = net(image())
        head.name.copy_(head.name[order].clone())
    torch.testing.assert_close(net(image()), before, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(mixed, before, rtol=1e-3, atol=1e-3)


def test_masks_are_the_product_with_the_mask_features() -> None:
    torch.manual_seed(0)
    head = queries_of(small())
    state, fine = torch.randn(2, 4, 12), torch.randn(2, 4, 8, 8, 8)
    features = head.mask_features(fine.movedim(1, -1))
    wanted = torch.einsum("bqd,bxyzd->bqxyz", head.masks(state), features)
    found = head.mask_logits(state, fine)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)

    def shrunk(x: Tensor) -> Tensor:
        return functional.interpolate(x, size=(2, 4, 4), mode="trilinear", align_corners=False)

    torch.testing.assert_close(head.mask_logits(state, shrunk(fine)), shrunk(found), rtol=1e-4, atol=1e-5)


def test_no_row_is_all_blocked() -> None:
    blocked = torch.tensor([[[True, True, True], [True, False, True], [False, False, False]]])
    opened = open_rows(blocked)
    assert not opened.all(-1).any()
    assert torch.equal(opened[0, 1:], blocked[0, 1:]) and not opened[0, 0].any()


def test_a_query_does_not_see_what_is_blocked() -> None:
    torch.manual_seed(0)
    layer = QueryLayer(12, 2, 24).eval()
    x, name, tokens, place = torch.randn(1, 1, 12), torch.randn(1, 12), torch.randn(1, 5, 12), torch.randn(5, 12)
    blocked = torch.tensor([[[False, True, False, True, True]]])
    before = layer(x, name, tokens, place, blocked)
    unseen, seen = tokens.clone(), tokens.clone()
    unseen[:, 1], seen[:, 2] = 9 * torch.randn(12), 9 * torch.randn(12)
    torch.testing.assert_close(layer(x, name, unseen, place, blocked), before)
    assert not torch.allclose(layer(x, name, seen, place, blocked), before, atol=1e-3)


def test_layers_read_one_resolution_after_the_other_within_the_last_masks() -> None:
    net = small(query_layers=3).eval()
    head, seen = queries_of(net), []
    for layer in head.layers:
        layer.register_forward_hook(lambda _m, given, _y: seen.append((given[2].shape[1], given[4])))
    masks = [mask for _, mask in net.queries(image())]
    assert [count for count, _ in seen] == [4**3, 8**3, 4**3] and len(masks) == 4
    for (_, blocked), mask, side in zip(seen, masks, (4, 8, 4), strict=False):
        small_mask = functional.interpolate(mask, size=(side,) * 3, mode="trilinear", align_corners=False).flatten(2)
        clear = small_mask.abs() > 1e-5
        assert torch.equal(blocked[clear], open_rows(small_mask < 0)[clear])


def test_the_transformer_at_the_bottom_begins_as_almost_nothing() -> None:
    tokens = small(depth=3).tokens
    assert tokens is not None
    x = torch.randn(2, 8, 16)
    torch.testing.assert_close(tokens.layers(x), x, rtol=0, atol=1e-3)
    for layer in tokens.layers:
        nn.init.ones_(layer.scale1)  # type: ignore[arg-type]
        nn.init.ones_(layer.scale2)  # type: ignore[arg-type]
    assert not torch.allclose(tokens.layers(x), x, atol=1e-3)


def test_every_place_has_its_own_sines() -> None:
    rows = sines((2, 3, 4), 12, torch.device("cpu"))
    assert rows.shape == (24, 12) and torch.cdist(rows, rows).add(torch.eye(24)).min() > 0.1
    torch.testing.assert_close(rows.square().sum(-1), torch.full((24,), 6.0))


def test_sizes() -> None:
    assert small().divisor == (4, 8, 8)
    with pytest.raises(HilumError, match="HIL-ZOO-04"):
        small()(torch.rand(1, 1, 16, 16, 24))
    with pytest.raises(HilumError, match=r"Pad to \(16, 16, 24\)"):
        small()(torch.rand(1, 1, 16, 16, 20))
    net = small(kind="decoder").eval()
    assert net(torch.rand(1, 1, 8, 16, 24)).shape == (1, 2, 8, 16, 24)
    with pytest.raises(HilumError, match="one voxel"):
        net(torch.rand(1, 1, 4, 8, 8))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "neither"}, "kind"),
        ({"spatial_dims": 2}, "HIL-ZOO-01"),
        ({"image_size": 12}, "product of the strides"),
        ({"heads": 3}, "heads"),
        ({"query_dim": 16}, "divisible by 6"),
        ({"features": [4, 8], "strides": [1, 2]}, "queries read two"),
        ({"features": [4, 8, 8], "strides": [1, 2]}, "every stage"),
    ],
)
def test_what_can_not_be_built_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(HilumError, match=words):
        small(**options)
