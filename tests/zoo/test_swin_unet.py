"""Swin-Unet: windows, the mask of shifted ones against MONAI's block, token shapes, ImageNet weights."""

import re
from typing import Any

import pytest
import torch
from monai.networks.nets import swin_unetr
from torch import Tensor, nn

from hilum.core.errors import HilumError
from hilum.zoo._blocks.swin import DropPath, SwinBlock, joined, windows
from hilum.zoo._blocks.swin_unet import Expand, Merge
from hilum.zoo.swin_unet import Net, from_swin

SMALL: dict[str, Any] = {"dim": 8, "depths": (2, 2, 2), "heads": (2, 4, 4), "window": 4, "drop_path": 0.0}


def small(**options: Any) -> Net:
    torch.manual_seed(0)
    return Net(1, 2, 2, **{**SMALL, **options})


def test_windows_and_back() -> None:
    x = torch.arange(2 * 8 * 12 * 3).reshape(2, 8, 12, 3)
    parts = windows(x, 4)
    assert parts.shape == (2, 6, 16, 3) and torch.equal(joined(parts, 4, 8), x)
    assert torch.equal(parts[0, 1].reshape(4, 4, 3), x[0, :4, 4:8])


@pytest.mark.parametrize("shifted", [False, True])
def test_a_block_is_monais(shifted: bool) -> None:
    torch.manual_seed(0)
    shift = (2, 2) if shifted else (0, 0)
    original = swin_unetr.SwinTransformerBlock(8, 2, (4, 4), shift).eval()
    for parameter in original.parameters():
        nn.init.normal_(parameter, std=0.5)
    block = SwinBlock(8, 2, 4, shifted=shifted).eval()
    names = {
        "norm1": "norm1", "norm2": "norm2", "attention.qkv": "attn.qkv", "attention.out": "attn.proj",
        "mlp.0": "mlp.linear1", "mlp.2": "mlp.linear2",
    }  # fmt: skip
    old = original.state_dict()
    state = {f"{new}.{part}": old[f"{was}.{part}"] for new, was in names.items() for part in ("weight", "bias")}
    state["attention.bias"] = old["attn.relative_position_bias_table"]
    block.load_state_dict(state)
    x = torch.randn(2, 8, 12, 8)
    mask = swin_unetr.compute_mask([8, 12], (4, 4), shift, x.device) if shifted else None
    torch.testing.assert_close(block(x), original(x, mask))


def test_nothing_is_seen_across_the_edges() -> None:
    torch.manual_seed(0)
    block, x = SwinBlock(8, 2, 4, shifted=True).eval(), torch.randn(1, 8, 8, 8)
    nn.init.normal_(block.attention.qkv.weight)
    changed = x.clone()
    changed[:, 0, 0] += torch.randn(8)
    moved = (block(x) - block(changed)).abs().sum(-1)[0]
    seen = torch.zeros(8, 8, dtype=torch.bool)
    seen[:2, :2] = True  # the corner's window is cut to 2x2 by the shift
    assert torch.equal(moved > 1e-6, seen)


def test_an_axis_with_one_window_is_not_shifted() -> None:
    block = SwinBlock(8, 2, 4, shifted=True)
    assert block.shift((4, 8)) == (0, 2) and block.mask((4, 4), torch.device("cpu")) is None


def test_every_offset_has_a_bias_of_its_own() -> None:
    index = SwinBlock(4, 1, 3, shifted=False).attention.index
    assert index.unique().tolist() == list(range(25))
    assert index[0, 0] == 12 and index[0, 8] == 0 and index[8, 0] == 24 and index[0, 1] == 11


def test_merging_and_expanding_put_places_where_they_belong() -> None:
    x = torch.arange(4.0).reshape(1, 2, 2, 1)
    merge, expand = Merge(1), Expand(1, 1, 2)
    merge.norm = nn.Identity()  # type: ignore[assignment]
    with torch.no_grad():
        merge.linear.weight.copy_(torch.eye(4)[:2])
        assert merge(x).flatten().tolist() == [0.0, 2.0]  # down first, then to the right, as Swin's weights want it
        expand.norm = nn.Identity()  # type: ignore[assignment]
        expand.linear.weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
        out = expand(torch.tensor([1.0, 10.0]).reshape(1, 1, 2, 1))
    assert out[0, :, :, 0].tolist() == [[1, 2, 10, 20], [3, 4, 30, 40]]


def shapes(net: nn.Module, parts: list[nn.Module], x: Tensor) -> list[tuple[int, ...]]:
    seen: list[tuple[int, ...]] = []
    for part in parts:
        part.register_forward_hook(lambda _, __, out: seen.append((out.shape[1] * out.shape[2], out.shape[3])))
    seen.append(tuple(net(x).shape))
    return seen


def test_token_shapes_of_the_paper() -> None:
    with torch.device("meta"):
        net, x = Net(3, 9, 2).eval(), torch.empty(2, 3, 224, 224)
        seen = shapes(net, [*net.encoder, *net.decoder], x)
    down = [(3136, 96), (784, 192), (196, 384), (49, 768)]
    assert seen == [*down, *down[2::-1], (2, 9, 224, 224)]
    assert net.divisor == (224, 224)


def test_skips_are_what_enters_a_stage() -> None:
    kept: dict[str, Tensor] = {}
    net = small().eval()
    net.encoder[0].register_forward_hook(lambda _, inputs, out: kept.update(enters=inputs[0], leaves=out))
    net.fuse[-1].register_forward_hook(lambda _, inputs, __: kept.update(joined=inputs[0]))
    net(torch.rand(1, 1, 64, 64))
    decoder, skip = kept["joined"].chunk(2, dim=-1)
    assert torch.equal(skip, kept["enters"]) and not torch.allclose(skip, kept["leaves"])
    assert not torch.allclose(decoder, skip)


def test_any_size_that_the_windows_divide() -> None:
    assert small().eval()(torch.rand(1, 1, 64, 128)).shape == (1, 2, 64, 128)


def swin(dim: int = 8, depths: tuple[int, ...] = (2, 2, 6), heads: tuple[int, ...] = (2, 4, 4)) -> dict[str, Tensor]:
    """Random weights with the names and shapes of the Swin Transformer's own code, window 4."""
    state: dict[str, tuple[int, ...]] = {"patch_embed.proj.weight": (dim, 1, 4, 4), "patch_embed.proj.bias": (dim,)}
    state |= {f"patch_embed.norm.{part}": (dim,) for part in ("weight", "bias")}
    for level, depth in enumerate(depths):
        wide = dim * 2**level
        for block in range(depth):
            at = f"layers.{level}.blocks.{block}"
            for name, outputs, inputs in (
                ("attn.qkv", 3 * wide, wide), ("attn.proj", wide, wide),
                ("mlp.fc1", 4 * wide, wide), ("mlp.fc2", wide, 4 * wide),
            ):  # fmt: skip
                state |= {f"{at}.{name}.weight": (outputs, inputs), f"{at}.{name}.bias": (outputs,)}
            state |= {f"{at}.{norm}.{part}": (wide,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
            state |= {f"{at}.attn.relative_position_bias_table": (49, heads[level])}
            state |= {f"{at}.attn.relative_position_index": (16, 16), f"{at}.attn_mask": (4, 16, 16)}
        if level < len(depths) - 1:
            state |= {f"layers.{level}.downsample.norm.{part}": (4 * wide,) for part in ("weight", "bias")}
            state |= {f"layers.{level}.downsample.reduction.weight": (2 * wide, 4 * wide)}
    state |= {f"norm.{part}": (dim * 2 ** (len(depths) - 1),) for part in ("weight", "bias")}
    state |= {"head.weight": (10, 32), "head.bias": (10,)}
    return {name: torch.rand(shape) for name, shape in state.items()}


def test_imagenet_weights_fill_the_encoder_and_the_decoders_blocks() -> None:
    net, state = small(), swin()
    renamed = from_swin(state, (2, 2, 2))
    rest = net.load_state_dict(renamed, strict=False)
    assert not rest.unexpected_keys
    assert {key.split(".")[0] for key in rest.missing_keys} == {"expand", "fuse", "last_norm", "last", "head"}
    own = net.state_dict()
    assert torch.equal(own["decoder.1.1.mlp.0.weight"], state["layers.0.blocks.1.mlp.fc1.weight"])
    assert torch.equal(own["decoder.0.0.attention.bias"], state["layers.1.blocks.0.attn.relative_position_bias_table"])
    assert torch.equal(own["merge.1.linear.weight"], state["layers.1.downsample.reduction.weight"])
    with pytest.raises(HilumError, match="HIL-ZOO-06"):
        from_swin({"layers.0.attention.weight": torch.zeros(1)})
    with pytest.raises(HilumError, match="3 levels, the network 2"):
        from_swin(state, (2, 2))
    whole = from_swin(state)
    assert whole.keys() > renamed.keys() and "encoder.2.5.norm1.weight" in whole


def test_timms_mergings_are_found_at_the_start_of_the_next_level() -> None:
    """They stood a level too far down, so the first was lost and the others had the wrong shape: all stayed random."""
    late = re.compile(r"(?<=^layers\.)\d+(?=\.downsample\.)")
    original = swin()
    timms = {late.sub(lambda m: str(int(m[0]) + 1), name): value for name, value in original.items()}
    assert timms.keys() != original.keys()
    net = small()
    rest = net.load_state_dict(from_swin(timms, (2, 2, 2)), strict=False)
    assert not [name for name in (*rest.missing_keys, *rest.unexpected_keys) if name.startswith("merge.")]
    assert torch.equal(net.state_dict()["merge.0.linear.weight"], original["layers.0.downsample.reduction.weight"])
    found, wanted = from_swin(timms), from_swin(original)
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_drop_path_rises_over_the_encoder_and_keeps_the_mean() -> None:
    net = small(drop_path=0.2)
    rates = [block.drop_path.rate for stage in net.encoder for block in stage]  # type: ignore[attr-defined]
    assert rates == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.2])
    assert [block.drop_path.rate for block in net.decoder[1]] == pytest.approx([0, 0.04])  # type: ignore[attr-defined]
    torch.manual_seed(0)
    layer, x = DropPath(0.25), torch.ones(4000, 2, 2)
    out = layer(x)
    assert sorted(out.unique().tolist()) == pytest.approx([0, 4 / 3]) and abs(float(out.mean()) - 1) < 0.03
    assert torch.equal(layer.eval()(x), x)


def test_refusals() -> None:
    with pytest.raises(HilumError, match=r"Pad to \(64, 128\)"):
        small()(torch.rand(1, 1, 64, 96))
    with pytest.raises(HilumError, match="HIL-ZOO-01"):
        Net(1, 2, 3, **SMALL)
    with pytest.raises(HilumError, match="heads"):
        small(heads=(3, 4, 4))
    with pytest.raises(HilumError, match="one of each"):
        small(heads=(2, 4))
    for rate in (1.0, -0.1):
        # the last block's rate is what is given: 1 gave NaN
        with pytest.raises(ValueError, match="can not be dropped"):
            small(drop_path=rate)
