"""The encoder alone begins from weights: which part that is, whose names are understood, what is said of the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.evaluation.provenance import provenance
from hilum.learn._start import Report, encoder_of, start
from hilum.learn._weights import read_weights
from hilum.planning.planner import edit
from hilum.tasks import _build, _task
from hilum.verbs.train import train

SEGMENTING = [n for n, card in catalogue.cards("hilum.zoo").items() if "segment" in card["tasks"]]
HEADS = {"head", "lower_heads", "auxiliary_head", "score16", "score8", "sides"}


def net_of(name: str, **changes: Any) -> nn.Module:
    """A network in its CARD's tiny form."""
    made: nn.Module = catalogue.load("hilum.zoo", name).Net(
        **{**catalogue.card("hilum.zoo", name)["tiny"]["kwargs"], **changes}
    )
    return made


def other(net: nn.Module) -> dict[str, Tensor]:
    """A state of the same names and shapes with other values."""
    torch.manual_seed(7)
    return {n: torch.randn_like(v) if v.is_floating_point() else v + 5 for n, v in net.state_dict().items()}


def moved(net: nn.Module, weights: dict[str, Tensor]) -> tuple[Report, set[str]]:
    """What came of it, and the names of the network's tensors that are others now."""
    before = {n: v.clone() for n, v in net.state_dict().items()}
    report = start(net, weights, encoder=True)
    return report, {n for n, v in net.state_dict().items() if not torch.equal(v, before[n])}


@pytest.mark.parametrize("name", SEGMENTING)
def test_every_segmentation_network_says_what_its_encoder_is(name: str) -> None:
    net = net_of(name)
    parts = encoder_of(net)
    names = [n for n, _ in net.named_parameters()]
    inside = {n for n in names if any(n == p or n.startswith(f"{p}.") for p in parts)}
    assert inside and inside < set(names)
    assert not {n.split(".")[0] for n in inside} & HEADS
    # unetpp names the nodes of more levels than the tiny form has
    assert name == "unetpp" or all(any(n == p or n.startswith(f"{p}.") for n in net.state_dict()) for p in parts)


@pytest.mark.parametrize("name", SEGMENTING)
def test_of_a_whole_network_the_encoder_alone_is_taken(name: str) -> None:
    net = net_of(name)
    weights, parts = other(net), encoder_of(net)
    report, changed = moved(net, weights)
    inside = {n for n in weights if any(n == p or n.startswith(f"{p}.") for p in parts)}
    assert changed == inside == set(report.matched) and set(report.outside) == set(weights) - inside
    assert report.share == 1 and report.head and report.encoder and not report.reading
    assert not (report.reshaped or report.wrong_shape or report.fresh or report.unused)
    assert "100.0% of the encoder's values" in report.sentence() and "outside the encoder" in report.sentence()
    assert {row["tensor"] for row in report.table()} == set(weights) and len(report.table()) == len(weights)


def test_an_encoder_that_was_saved_alone_has_no_name_before_its_names() -> None:
    net = net_of("nnunet")
    alone = {n.removeprefix("encoder."): v for n, v in other(net).items() if n.startswith("encoder.")}
    report, changed = moved(net, alone | {"classifier.weight": torch.ones(3)})
    assert changed == set(report.matched) == {f"encoder.{n}" for n in alone}
    assert report.reading == "encoder. put before the names" and report.reading in report.sentence()
    assert report.unused == {"encoder.classifier.weight": 3}


def test_a_classifier_lends_its_stages() -> None:
    net, source = net_of("nonlocal_net"), net_of("resnet", stem="imagenet")
    report = start(net, other(source), encoder=True)
    assert report.reading == "encoder. put before the names"
    assert {f"encoder.{n}" for n in source.state_dict() if not n.startswith("head.")} == set(report.matched)
    assert set(report.unused) == {"encoder.head.weight", "encoder.head.bias"}
    assert report.fresh and all(".nonlocal" in n for n in report.fresh)


def vgg16() -> dict[str, Tensor]:
    """Names of torchvision's VGG-16, shapes of the tiny FCN: width 4, 32 channels between the dense layers."""
    torch.manual_seed(3)
    state, place, inputs = dict[str, Tensor](), 0, 1
    for count, width in zip((2, 2, 3, 3, 3), (4, 8, 16, 32, 32), strict=True):
        for _ in range(count):
            state |= {f"features.{place}.weight": torch.randn(width, inputs, 3, 3)}
            state |= {f"features.{place}.bias": torch.randn(width)}
            place, inputs = place + 2, width
        place += 1
    for name, shape in (("0", (32, 32 * 49)), ("3", (32, 32)), ("6", (1000, 32))):
        state |= {f"classifier.{name}.weight": torch.randn(shape), f"classifier.{name}.bias": torch.randn(shape[0])}
    return state


def test_vgg16_fills_fcn_and_its_last_layer_is_accounted_for() -> None:
    net, weights = net_of("fcn"), vgg16()
    report, changed = moved(net, weights)
    assert report.reading == "names translated by from_vgg16" and report.share == 1
    assert changed == {n for n in net.state_dict() if n.startswith(("stages.", "fc."))} == set(report.matched)
    assert set(report.unused) == {"classifier.6.weight", "classifier.6.bias"}
    assert torch.equal(net.state_dict()["fc.0.weight"].flatten(1), weights["classifier.0.weight"])
    colour = net_of("fcn", in_channels=3)
    assert list(start(colour, weights, encoder=True).reshaped) == ["stages.0.0.weight"]


def resnet(depth: int) -> dict[str, Tensor]:
    """Names of torchvision's ResNet, shapes of width 8 and three channels, two blocks in every stage for depth 18."""
    torch.manual_seed(5)
    counts, wide = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}[depth], 4 if depth >= 50 else 1
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (8, 3, 7, 7), "fc.weight": (10, 64 * wide), "fc.bias": (10,)}
    norms, inputs = {"bn1": 8}, 8
    for level, count in enumerate(counts):
        width = 8 * 2**level
        for block in range(count):
            at, outputs = f"layer{level + 1}.{block}", width * wide
            sizes = [(width, inputs, 1), (width, width, 3), (outputs, width, 1)]
            for number, (o, i, k) in enumerate(sizes if wide == 4 else [(width, inputs, 3), (width, width, 3)], 1):
                shapes[f"{at}.conv{number}.weight"], norms[f"{at}.bn{number}"] = (o, i, k, k), o
            if block == 0 and (level or wide == 4):
                shapes[f"{at}.downsample.0.weight"], norms[f"{at}.downsample.1"] = (outputs, inputs, 1, 1), outputs
            inputs = outputs
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    for name, count in norms.items():
        state |= {f"{name}.{part}": torch.rand(count) for part in ("weight", "bias", "running_mean", "running_var")}
        state[f"{name}.num_batches_tracked"] = torch.tensor(9)
    return state


@pytest.mark.parametrize(
    ("name", "part", "depth"), [("hnet", "right", 34), ("nonlocal_net", "encoder", 18), ("nonlocal_net", "encoder", 50)]
)
def test_a_resnet_of_torchvision_fills_the_encoder(name: str, part: str, depth: int) -> None:
    weights = resnet(depth)
    net = net_of(name, in_channels=3, **({} if name == "hnet" else {"depth": depth}))
    report = start(net, weights, encoder=True)
    assert report.reading == "names translated by from_resnet" and not report.wrong_shape
    assert len(report.matched) == len(weights) - 2 and set(report.unused) == {"fc.weight", "fc.bias"}
    assert all(n.startswith("left.") or ".nonlocal" in n for n in report.fresh)
    state = net.state_dict()
    assert torch.equal(state[f"{part}.stem.0.weight"], weights["conv1.weight"])
    assert torch.equal(state[f"{part}.stages.1.0.shortcut.1.running_var"], weights["layer2.0.downsample.1.running_var"])
    last, place = (3, 4) if depth == 50 else (2, 2)
    assert torch.equal(state[f"{part}.stages.3.1.path.{place}.0.weight"], weights[f"layer4.1.conv{last}.weight"])


def swin() -> dict[str, Tensor]:
    """Names of the Swin Transformer's own code, shapes of the tiny Swin-Unet, six blocks in its last level."""
    torch.manual_seed(4)
    state: dict[str, tuple[int, ...]] = {"patch_embed.proj.weight": (8, 1, 4, 4), "patch_embed.proj.bias": (8,)}
    state |= {"patch_embed.norm.weight": (8,), "patch_embed.norm.bias": (8,)}
    for level, (wide, heads, depth) in enumerate(((8, 2, 2), (16, 4, 6))):
        for block in range(depth):
            at = f"layers.{level}.blocks.{block}"
            for name, outputs, inputs in (
                ("attn.qkv", 3 * wide, wide), ("attn.proj", wide, wide),
                ("mlp.fc1", 4 * wide, wide), ("mlp.fc2", wide, 4 * wide),
            ):  # fmt: skip
                state |= {f"{at}.{name}.weight": (outputs, inputs), f"{at}.{name}.bias": (outputs,)}
            state |= {f"{at}.{norm}.{part}": (wide,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
            state |= {f"{at}.attn.relative_position_bias_table": (49, heads)}
    state |= {"layers.0.downsample.norm.weight": (32,), "layers.0.downsample.norm.bias": (32,)}
    state |= {"layers.0.downsample.reduction.weight": (16, 32), "norm.weight": (16,), "norm.bias": (16,)}
    state |= {"head.weight": (10, 16), "head.bias": (10,)}
    return {name: torch.randn(shape) for name, shape in state.items()}


@pytest.mark.parametrize("name", ["swin_unet", "sstransnet"])
def test_a_swin_transformer_fills_encoder_and_decoder_blocks(name: str) -> None:
    net, weights = net_of(name), swin()
    report, changed = moved(net, weights)
    assert report.reading == "names translated by from_swin" and changed == set(report.matched)
    own = net.state_dict()
    assert torch.equal(own["encoder.1.1.mlp.0.weight"], weights["layers.1.blocks.1.mlp.fc1.weight"])
    assert torch.equal(own["decoder.0.1.mlp.0.weight"], weights["layers.0.blocks.1.mlp.fc1.weight"])
    assert {n.split(".")[0] for n in report.outside} == {"expand", "fuse", "last_norm", "last", "head"}
    # blocks that this network does not have are told, and so is the classifier
    assert {n for n in report.unused if n.startswith("encoder.1.5.")} and not changed & {"head.weight"}
    assert all(n.endswith("potential") for n in report.fresh) and bool(report.fresh) == (name == "sstransnet")


def hybrid(maker: str, size: int = 2) -> dict[str, Tensor]:
    """Names of the published R50+ViT or of timm's, shapes of the tiny TransUNet; size: tokens of a side."""
    torch.manual_seed(6)
    google, dim, width, state = maker == "google", 16, 8, dict[str, Tensor]()

    def put(ours: str, theirs: str, *shape: int) -> None:
        state[theirs if google else ours] = torch.randn(shape)

    def norm(ours: str, theirs: str, *shape: int) -> None:
        put(f"{ours}.weight", f"{theirs}/scale", *shape)
        put(f"{ours}.bias", f"{theirs}/bias", *shape)

    def conv(ours: str, theirs: str, outputs: int, inputs: int, side: int) -> None:
        shape = (side, side, inputs, outputs) if google else (outputs, inputs, side, side)
        put(f"{ours}.weight", f"{theirs}/kernel", *shape)

    conv("patch_embed.backbone.stem.conv", "conv_root", width, 3, 7)
    norm("patch_embed.backbone.stem.norm", "gn_root", *((1, 1, 1, width) if google else (width,)))
    inputs = width
    for level in range(3):
        inner, last = width * 2**level, width * 2**level * 4
        ours, theirs = f"patch_embed.backbone.stages.{level}.blocks.0", f"block{level + 1}/unit1"
        for number, (o, i, side) in enumerate([(inner, inputs, 1), (inner, inner, 3), (last, inner, 1)], 1):
            conv(f"{ours}.conv{number}", f"{theirs}/conv{number}", o, i, side)
            norm(f"{ours}.norm{number}", f"{theirs}/gn{number}", o)
        conv(f"{ours}.downsample.conv", f"{theirs}/conv_proj", last, inputs, 1)
        norm(f"{ours}.downsample.norm", f"{theirs}/gn_proj", last)
        inputs = last
    conv("patch_embed.proj", "embedding", dim, inputs, 1)
    put("patch_embed.proj.bias", "embedding/bias", dim)
    put("pos_embed", "Transformer/posembed_input/pos_embedding", 1, 1 + size**2, dim)
    put("cls_token", "cls", 1, 1, dim)
    at, layer = "Transformer/encoderblock_0", "blocks.0"
    norm(f"{layer}.norm1", f"{at}/LayerNorm_0", dim)
    norm(f"{layer}.norm2", f"{at}/LayerNorm_2", dim)
    if google:
        for part in ("query", "key", "value"):
            state[f"{at}/MultiHeadDotProductAttention_1/{part}/kernel"] = torch.randn(dim, 2, dim // 2)
            state[f"{at}/MultiHeadDotProductAttention_1/{part}/bias"] = torch.randn(2, dim // 2)
        state[f"{at}/MultiHeadDotProductAttention_1/out/kernel"] = torch.randn(2, dim // 2, dim)
        state[f"{at}/MultiHeadDotProductAttention_1/out/bias"] = torch.randn(dim)
    else:
        state |= {f"{layer}.attn.qkv.weight": torch.randn(3 * dim, dim), f"{layer}.attn.qkv.bias": torch.randn(3 * dim)}
        state |= {f"{layer}.attn.proj.weight": torch.randn(dim, dim), f"{layer}.attn.proj.bias": torch.randn(dim)}
    for number, (o, i) in enumerate([(4 * dim, dim), (dim, 4 * dim)]):
        put(
            f"{layer}.mlp.fc{number + 1}.weight",
            f"{at}/MlpBlock_3/Dense_{number}/kernel",
            *((i, o) if google else (o, i)),
        )
        put(f"{layer}.mlp.fc{number + 1}.bias", f"{at}/MlpBlock_3/Dense_{number}/bias", o)
    norm("norm", "Transformer/encoder_norm", dim)
    put("head.weight", "head/kernel", *((dim, 10) if google else (10, dim)))
    put("head.bias", "head/bias", 10)
    return state


@pytest.mark.parametrize("maker", ["google", "timm"])
@pytest.mark.parametrize("name", ["transunet", "da_transunet"])
def test_a_vision_transformer_that_reads_a_resnet_fills_the_encoder(name: str, maker: str, tmp_path: Path) -> None:
    state = hybrid(maker)
    if maker == "google":
        np.savez(tmp_path / "w.npz", **{key: value.numpy() for key, value in state.items()})
    else:
        save_file(state, tmp_path / "w.npz")
    net = net_of(name)
    report = start(net, read_weights(tmp_path / "w.npz"), encoder=True)
    own = net.state_dict()
    assert report.reading == ("names translated by from_" + ("vit" if maker == "google" else "timm"))
    assert not report.wrong_shape and not report.reshaped
    assert all(n.startswith(("encoder.before", "encoder.after")) for n in report.fresh)
    # what became one, or lost its class token, does not count as unused
    left = {"cls", "head/kernel", "head/bias"} if maker == "google" else {"cls_token"}
    assert set(report.unused) == left
    embedding = state["Transformer/posembed_input/pos_embedding" if maker == "google" else "pos_embed"]
    assert torch.equal(own["encoder.position"], embedding[:, 1:])
    if maker == "google":
        at = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1"
        kernel = state[f"{at}/key/kernel"]
        # the second head's keys: rows 16 + 8 to 16 + 16 of query, key and value below each other
        torch.testing.assert_close(own["encoder.layers.0.attention.qkv.weight"][24:32], kernel[:, 1].T)
        assert torch.equal(own["encoder.layers.0.attention.out.weight"][:, 8:], state[f"{at}/out/kernel"][1].T)
        assert torch.equal(
            own["encoder.stages.1.0.path.2.0.weight"][3, 5], state["block2/unit1/conv2/kernel"][..., 5, 3]
        )


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("nnunet", {"decoder.seg_layers.a.weight": torch.ones(2)}),
        ("transunet", {"embedding/kernel": torch.tensor(1.0)}),
        ("transunet", {"patch_embed.backbone.stem.conv.weight": torch.ones(1), "pos_embed": torch.ones(3)}),
    ],
)
def test_names_and_shapes_that_no_translator_expects_are_refused_by_sentence(
    name: str, weights: dict[str, Tensor]
) -> None:
    with pytest.raises(HilumError) as error:
        start(net_of(name), weights, encoder=True)
    assert error.value.code == "HIL-LEARN-22"


def test_a_hybrid_for_another_image_size_is_interpolated() -> None:
    report = start(net_of("transunet"), hybrid("timm", size=4), encoder=True)
    assert list(report.reshaped) == ["encoder.position"]


def test_arrays_of_numpy_are_read_without_running_anything(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "small.npz", a=np.ones(3))
    with pytest.raises(HilumError, match=r"compressed.*numpy\.savez.*HIL-LEARN-21"):
        read_weights(tmp_path / "small.npz")
    np.savez(tmp_path / "objects.npz", a=np.array([print, 1], dtype=object))
    np.savez(tmp_path / "words.npz", a=np.array(["one"]))
    for name in ("objects.npz", "words.npz"):
        with pytest.raises(HilumError, match=r"damaged.*HIL-M04"):
            read_weights(tmp_path / name)


def test_monais_names_are_read_for_the_encoder() -> None:
    net = net_of("mednext")
    names = {"stem": "stem", "encoder": "enc_stages", "down": "down_blocks", "bottom": "bottleneck"}
    theirs = {
        ".".join([names[first], *rest]): value
        for (first, *rest), value in ((n.split("."), v) for n, v in other(net).items())
        if first in names
    }
    report, changed = moved(net, theirs)
    assert report.reading == "names translated by from_monai"
    assert {n.split(".")[0] for n in changed} == {"stem", "encoder", "down"} and changed == set(report.matched)


@pytest.mark.parametrize("name", ["transunet", "unetr"])
def test_a_position_embedding_without_a_class_token_is_interpolated(name: str) -> None:
    size = catalogue.card("hilum.zoo", name)["tiny"]["kwargs"]["image_size"][0]
    source, net = net_of(name), net_of(name, image_size=[2 * size, size])
    key = next(n for n in source.state_dict() if n.endswith("position"))
    weights = other(source)
    rows = torch.arange(2.0)[:, None].expand(2, 2).reshape(1, 4, 1)
    weights[key] = rows.expand_as(weights[key]).clone()
    report = start(net, weights, encoder=True)
    assert list(report.reshaped) == [key]
    made = net.state_dict()[key][0, :, 0].reshape(4, 2)
    torch.testing.assert_close(made[:, 0], torch.tensor([0, 0.25, 0.75, 1]))
    assert torch.equal(made[:, 0], made[:, 1])
    # five tokens are no square, and no class token with four more
    weights[key] = torch.cat([weights[key], weights[key][:, :1]], dim=1)
    assert list(start(net, weights, encoder=True).wrong_shape) == [key]


def test_what_can_not_be_meant_is_refused_and_changes_nothing() -> None:
    net = net_of("unet")
    before = {n: v.clone() for n, v in net.state_dict().items()}
    for weights in (other(net_of("resnet")), {"up.0.weight": before["up.0.weight"] + 1}):
        with pytest.raises(HilumError) as error:
            start(net, weights, encoder=True)
        assert error.value.code == "HIL-LEARN-22" and "of the encoder's values" in error.value.seen
    assert all(torch.equal(v, before[n]) for n, v in net.state_dict().items())
    with pytest.raises(HilumError, match=r"no part that is its encoder.*--start"):
        start(net_of("resnet"), other(net_of("resnet")), encoder=True)


def test_a_plan_names_no_files(plan_of: Callable[..., Plan]) -> None:
    with pytest.raises(HilumError, match=r"no part of a plan.*hilum train --set encoder_weights=FILE") as error:
        edit(plan_of("segment"), None, {"encoder_weights": "x.safetensors"})
    assert error.value.code == "HIL-PLAN-02"


def test_a_run_begins_its_encoder_from_the_file(
    data: Callable[[str], Path], plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = plan_of("segment", 2)
    torch.manual_seed(5)
    weights = dict(_build.build(_task.load(plan), "net").state_dict())
    save_file(weights, tmp_path / "own.safetensors")
    plan.write(tmp_path / "plan.json")
    settings = {"encoder_weights": str(tmp_path / "own.safetensors"), "learning.freeze": ["encoder"]}
    run = train(data("segment"), "segment", tmp_path / "run", plan=tmp_path / "plan.json", settings=settings)
    told, learned = run.json("start.json"), run.weights("net")
    assert told["encoder"] is True and told["share"] == 1 and told["source"]["name"] == "own.safetensors"
    assert run.plan.learning["start"]["sha256"] == told["source"]["sha256"]
    assert "encoder_weights" not in run.plan.text()
    assert provenance(run)["training"]["start"]["part"] == "the encoder only"
    # the encoder is frozen; the rest began from the run's own seed
    assert all(torch.equal(value, weights[key]) for key, value in learned.items() if key.startswith("encoder."))
    assert not torch.equal(learned["head.weight"], weights["head.weight"])
    assert not torch.allclose(learned["decoder.0.0.conv.weight"], weights["decoder.0.0.conv.weight"], atol=0.05)


def test_two_starts_at_once_are_refused(data: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(HilumError, match=r"Both --start .*encoder_weights.*HIL-LEARN-06"):
        train(data("segment"), "segment", tmp_path / "run", steps=1, start="a.pt", settings={"encoder_weights": "b.pt"})
    assert not (tmp_path / "run").exists()


READING = {
    name: catalogue.card("hilum.zoo", name)
    for name, card in catalogue.cards("hilum.zoo").items()
    if card["inputs"] == ["image"] and "in_channels" not in card.get("fixed_channels", {})
}
ONE_OF_MANY = {"sharp_dense_unet": 2}
# Convolutions that read the image beside features made of it, and so stay fresh.


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("name", READING)
def test_every_convolution_that_reads_the_image_is_made_for_its_channels(name: str, channels: int) -> None:
    """A grey image in all channels then gives what it gave: H-Net reads it five times, UNETR and Swin UNETR twice."""
    info = READING[name]["tiny"]
    made = catalogue.load("hilum.zoo", name).Net
    torch.manual_seed(0)
    source, net = (made(**info["kwargs"] | {"in_channels": n}).eval() for n in (3, channels))
    report = start(net, source.state_dict())
    assert len(report.wrong_shape) == ONE_OF_MANY.get(name, 0) and not report.fresh
    if name in ONE_OF_MANY:
        return
    grey = torch.rand(info["shape"][0], 1, *info["shape"][2:])
    with torch.no_grad():
        before, after = (net(grey.repeat_interleave(n, 1)) for net, n in ((source, 3), (net, channels)))
    for one, other in zip(levels(before), levels(after), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def levels(output: Any) -> list[Tensor]:
    """Every tensor that a network gives."""
    parts = output.values() if isinstance(output, dict) else output
    return [output] if isinstance(output, Tensor) else [tensor for part in parts for tensor in levels(part)]


def test_an_encoder_without_the_first_convolution_is_adapted_too() -> None:
    net = catalogue.load("hilum.zoo", "hnet").Net(1, 2, 2, width=8)
    state = {n: v for n, v in net.state_dict().items() if n.startswith("right.")}
    state["right.stem.0.weight"] = state["right.stem.0.weight"].repeat(1, 3, 1, 1)
    report = start(net, state, encoder=True)
    assert list(report.reshaped) == ["right.stem.0.weight"] and not report.wrong_shape
