"""What every network of the zoo promises; runs over whatever file lies in the folder."""

import ast
import fnmatch
import importlib
import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

import hilum.zoo
from hilum.core.errors import HilumError
from hilum.learn._half import NarrowInFloat32
from hilum.zoo._cost import activation_memory, flops, parameters

FOLDER = Path(next(iter(hilum.zoo.__path__)))
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
KEYS = {"paper", "authors", "year", "tasks", "role", "dims", "inputs", "divisor", "image_size", "golden", "tiny"}
TASKS = {"segment", "classify", "detect", "register", "reconstruct", "restore", "translate", "generate", "critic"}
PLANNED = {
    "nnunet": {"features", "strides", "kernels", "deep_supervision"},
    "transunet3d": {"features", "strides", "kernels"},
}
# Options that a plan gives with the network's name.
Inputs = tuple[Any, ...]


class Fourier:
    """One coil, every second line of k-space, orthonormal."""

    def __init__(self, lines: int) -> None:
        self.mask = (torch.arange(lines) % 2 == 0).float()

    def forward(self, image: Tensor) -> Tensor:
        axes = tuple(range(1, image.ndim))
        return (torch.fft.fftn(image, dim=axes, norm="ortho") * self.mask).unsqueeze(1)

    def adjoint(self, kspace: Tensor) -> Tensor:
        image = kspace[:, 0] * self.mask
        return torch.fft.ifftn(image, dim=tuple(range(1, image.ndim)), norm="ortho")


def card(name: str) -> dict[str, Any]:
    """The CARD, read without importing the module."""
    for node in ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CARD":
            return dict(ast.literal_eval(node.value))
    raise AssertionError(f"{name}.py has no literal CARD")


FORMS = [(name, dims) for name in NAMES for dims in card(name)["dims"]]
# Every network for every number of axes that it has.
SLOW = ("swin_unetr", 3)
# Over a minute backwards in bfloat16 on processors that emulate it: in that it predicts one image, and does not train.


def build(name: str, **changes: Any) -> nn.Module:
    """The tiny network, seeded, with changed options."""
    torch.manual_seed(0)
    net = importlib.import_module(f"hilum.zoo.{name}").Net(**{**card(name)["tiny"]["kwargs"], **changes})
    assert isinstance(net, nn.Module)
    return net


def in_dims(name: str, spatial_dims: int, **changes: Any) -> nn.Module:
    """The tiny network for that number of axes."""
    info = card(name)
    changes["spatial_dims"] = spatial_dims
    if info["image_size"]:
        changes["image_size"] = [info["tiny"]["kwargs"]["image_size"][0]] * spatial_dims
    if info.get("fixed_channels", {}).get("out_channels") == "spatial_dims":
        changes["out_channels"] = spatial_dims
    return build(name, **changes)


def make_inputs(name: str, channels: int | None = None, spatial_dims: int = 2) -> Inputs:
    """Random inputs of the tiny shape; 3-D repeats the last axis, so image_size does too."""
    info = card(name)
    shapes = info["tiny"]["shape"]
    shapes = shapes if isinstance(shapes, dict) else {info["inputs"][0]: shapes}
    generator = torch.Generator().manual_seed(1)
    made: list[Any] = []
    for role in info["inputs"]:
        if role == "operator":
            made.append(Fourier(shapes["kspace"][-1]))
            continue
        shape = list(shapes[role])
        if role != "latent" and len(shape) < 2 + spatial_dims:
            shape.append(shape[-1])
        if channels is not None and role != "kspace":
            shape[1] = channels
        x = torch.randn(shape, generator=generator)
        made.append(Fourier(shape[-1]).forward(torch.complex(x, x.flip(0))[:, 0]) if role == "kspace" else x)
    return tuple(made)


def tensors(output: Any) -> list[Tensor]:
    """Every tensor of what a network returns."""
    if isinstance(output, Tensor):
        return [output]
    return [tensor for part in (output.values() if isinstance(output, dict) else output) for tensor in tensors(part)]


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_everything(name: str) -> None:
    info = card(name)
    assert set(info) >= KEYS | {"licence", "reconstruction"}
    assert set(info["tasks"]) <= TASKS and info["licence"] == "Apache-2.0"
    assert info["role"] == ("critic" if info["tasks"] == ["critic"] else "net")
    assert all(len(reason.split()) > 2 for reason in info.get("dead", {}).values()), "a reason for each dead weight"
    net = importlib.import_module(f"hilum.zoo.{name}").Net
    arguments = inspect.signature(net.__init__).parameters
    assert list(arguments)[1:4] == ["in_channels", "out_channels", "spatial_dims"]
    rest = list(arguments.values())[4:]
    assert all(argument.kind is inspect.Parameter.KEYWORD_ONLY for argument in rest), "no open **kwargs"
    assert ("image_size" in arguments) == bool(info["image_size"])
    assert list(inspect.signature(net.forward).parameters)[1:] == (
        ["x"] if info["inputs"] == ["image"] else info["inputs"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_golden_parameter_counts(name: str) -> None:
    golden = card(name)["golden"]
    assert golden
    for entry in golden:
        with torch.device("meta"):
            net = importlib.import_module(f"hilum.zoo.{name}").Net(**entry["kwargs"])
        assert parameters(net) == entry["parameters"], entry["kwargs"]


@pytest.mark.parametrize("name", [name for name in NAMES if "segment" in card(name)["tasks"]])
def test_the_first_golden_form_is_what_the_name_alone_builds_at_the_size_of_its_paper(name: str) -> None:
    """Tables and pictures show that form: its options are the constructor's, but those that a plan decides."""
    first = card(name)["golden"][0]
    kwargs, shape = first["kwargs"], first["shape"]
    assert shape[1] == kwargs["in_channels"] and len(shape) == 2 + kwargs["spatial_dims"]
    assert kwargs.get("image_size", shape[2:]) == shape[2:]
    made = inspect.signature(importlib.import_module(f"hilum.zoo.{name}").Net).parameters
    decided = PLANNED.get(name, set()) | {"in_channels", "out_channels", "spatial_dims", "image_size"}
    assert {n: v for n, v in kwargs.items() if n not in decided and made[n].default != v} == {}
    with torch.device("meta"):
        net = importlib.import_module(f"hilum.zoo.{name}").Net(**kwargs).eval()
        with torch.no_grad():
            assert net(torch.empty(shape)).shape == (shape[0], kwargs["out_channels"], *shape[2:])


def opened(net: nn.Module) -> None:
    """Open gates that begin at zero, as a first step of training would: behind them nothing has a gradient."""
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)


@pytest.mark.parametrize(("name", "spatial_dims"), FORMS)
def test_every_parameter_gets_a_gradient(name: str, spatial_dims: int) -> None:
    """Or its name matches a pattern of the card's `dead`, which gives the reason; such a weight must be dead indeed."""
    info = card(name)
    net = in_dims(name, spatial_dims)
    opened(net)
    inputs = make_inputs(name, spatial_dims=spatial_dims)
    output = net(*inputs)
    assert all(len(part) == len(inputs[0]) and part.isfinite().all() for part in tensors(output))
    torch.stack([(part * torch.randn_like(part)).sum() for part in tensors(output)]).sum().backward()
    for key, parameter in net.named_parameters():
        if any(fnmatch.fnmatch(key, pattern) for pattern in info.get("dead", {})):
            assert parameter.grad is None or not parameter.grad.any(), f"{key} is not dead"
            continue
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        if parameter.ndim > 1:  # a bias before a norm has none in theory
            assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize(("name", "spatial_dims"), FORMS)
def test_no_size_is_silently_wrong(name: str, spatial_dims: int) -> None:
    """What the divisor does not divide is refused by sentence, or, where the card says `padded`, padded and cut again.

    A step of the divisor more is taken, unless weights depend on the size. Masks are as large as the image.
    """
    info = card(name)
    if not set(info["inputs"]) <= {"image", "moving", "fixed"}:
        pytest.skip(f"{name} takes no image")
    net, inputs = in_dims(name, spatial_dims).eval(), make_inputs(name, spatial_dims=spatial_dims)
    space = tuple(inputs[0].shape[2:])
    steps = getattr(net, "divisor", (info["divisor"],) * len(space))
    assert len(steps) == spatial_dims
    assert all(side % step == 0 for side, step in zip(space, steps, strict=True))

    def run(axis: int, more: int) -> None:
        """Through the network with that axis longer: refused, or masks of the same size."""
        size = [side + more * (number == axis) for number, side in enumerate(space)]
        changed = [torch.randn(*x.shape[:2], *size, generator=torch.Generator().manual_seed(3)) for x in inputs]
        with torch.no_grad():
            for part in tensors(net(*changed)):
                assert part.isfinite().all() and ("segment" not in info["tasks"] or list(part.shape[2:]) == size)

    run(0, 0)
    for axis, step in enumerate(steps):
        if info["image_size"] or (step > 1 and not info.get("padded")):
            with pytest.raises(HilumError) as refused:
                run(axis, 1)
            assert refused.value.code in ("HIL-ZOO-02", "HIL-ZOO-04")
        else:
            run(axis, 1)
        if not info["image_size"]:
            run(axis, step)


@pytest.mark.parametrize("name", NAMES)
def test_forward_is_head_of_features(name: str) -> None:
    net = build(name).eval()
    if "head" in card(name):
        pytest.skip(card(name)["head"])
    assert getattr(net, "plain", True)
    inputs = make_inputs(name)
    head, features = net.get_submodule("head"), net.features
    assert callable(features)
    torch.testing.assert_close(net(*inputs), head(features(*inputs)))


@pytest.mark.parametrize("name", NAMES)
def test_any_channels_and_named_heads(name: str) -> None:
    fixed = card(name).get("fixed_channels", {})
    inside = {} if "in_channels" in fixed else {"in_channels": 3}
    channels = inside.get("in_channels")
    outside = {} if "out_channels" in fixed else {"out_channels": 5}
    output = build(name, **inside, **outside).eval()(*make_inputs(name, channels))
    if isinstance(output, Tensor):
        assert output.shape[1] == outside.get("out_channels", output.shape[1])
    if not fixed and isinstance(output, Tensor):
        named = build(name, **inside, out_channels={"a": 2, "b": 3}).eval()(*make_inputs(name, channels))
        assert {key: part.shape[1] for key, part in named.items()} == {"a": 2, "b": 3}


@pytest.mark.parametrize(("name", "spatial_dims"), FORMS)
def test_saved_and_loaded_is_equal(name: str, spatial_dims: int, tmp_path: Path) -> None:
    net, inputs = in_dims(name, spatial_dims).eval(), make_inputs(name, spatial_dims=spatial_dims)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    other = in_dims(name, spatial_dims).eval()
    for parameter in other.parameters():
        nn.init.uniform_(parameter)
    other.load_state_dict(load_file(tmp_path / "net.safetensors"))
    for before, after in zip(tensors(net(*inputs)), tensors(other(*inputs)), strict=True):
        assert torch.equal(before, after)


def mirrored(x: Tensor) -> Tensor:
    """The second half of a batch as the negative of the first: no answer that passes the image by is right for both."""
    half = x[: len(x) // 2]
    return torch.cat([half, -half])


def blobs(x: Tensor) -> Tensor:
    """(B, *space) classes 0 and 1, half and half in every image: where the blurred image lies above its median."""
    wide = 9 if min(x.shape[2:]) >= 32 else 5
    pool = functional.avg_pool2d if x.ndim == 4 else functional.avg_pool3d
    soft = pool(x.mean(1, keepdim=True), wide, 1, wide // 2, count_include_pad=False)[:, 0]
    middle = soft.flatten(1).sort(1).values[:, soft[0].numel() // 2 - 1]
    return (soft > middle.view(-1, *(1,) * (soft.ndim - 1))).long()


def masks_loss(output: Any, target: Tensor) -> Tensor:
    """Cross-entropy of every map of a segmenting network, at its own resolution; their mean."""
    found = []
    for part in output["out"] if isinstance(output, dict) else [output]:
        small = functional.interpolate(target[:, None].float(), size=part.shape[2:], mode="nearest-exact")[:, 0]
        if part.shape[1] == 1:
            found.append(functional.binary_cross_entropy_with_logits(part[:, 0], small))
        else:
            found.append(functional.cross_entropy(part, small.long()))
    return torch.stack(found).mean()


@pytest.mark.parametrize("name", [name for name in NAMES if "segment" in card(name)["tasks"]])
def test_one_batch_is_segmented(name: str) -> None:
    """Better than by what does not read the image: that can say one share everywhere, and its loss is ln 2."""
    net, x = build(name).train(), mirrored(make_inputs(name)[0])
    target = blobs(x)
    assert torch.equal(target[: len(x) // 2], 1 - target[len(x) // 2 :])
    optimiser, losses = torch.optim.Adam(net.parameters(), lr=5e-3), list[float]()
    while len(losses) < 60 and (not losses or losses[-1] > 0.5):
        loss = masks_loss(net(x), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.75 * math.log(2), losses[-1]


def aim(part: Tensor, x: Tensor) -> Tensor:
    """What an output of that shape should become, around its mean as it is: the image at that size, or, where the
    output or the input has no space, one sign for every second sample and channel."""
    start = part.mean((0, *range(2, part.ndim)), keepdim=True)
    if part.ndim == x.ndim and part.ndim > 2:
        pool = functional.adaptive_avg_pool2d if x.ndim == 4 else functional.adaptive_avg_pool3d
        small = pool(x.mean(1, keepdim=True), part.shape[2:])
        return start + 0.5 * (small - small.mean()) / small.std()
    sign = (torch.arange(len(part))[:, None] + torch.arange(part.shape[1])) % 2 - 0.5
    return start + sign.view(*sign.shape, *(1,) * (part.ndim - 2))


@pytest.mark.parametrize("name", [name for name in NAMES if "segment" not in card(name)["tasks"]])
def test_one_batch_can_be_learned(name: str) -> None:
    """Better than by a constant for each channel, which the bias of a last layer can give without reading anything.

    For k-space towards the zero-filled image.
    """
    net, inputs = build(name).train(), make_inputs(name)
    with torch.no_grad():
        outputs = tensors(net(*inputs))
        if "kspace" in card(name)["inputs"]:
            image = inputs[1].adjoint(inputs[0])
            goals = [torch.stack([image.real, image.imag], dim=1)]
        else:
            goals = [aim(part, inputs[0]) for part in outputs]
    axes = [(0, *range(2, goal.ndim)) for goal in goals]
    even = [(g - g.mean(a, keepdim=True)).square().mean() for g, a in zip(goals, axes, strict=True)]
    bar = 0.5 * float(torch.stack(even).sum())
    optimiser, losses = torch.optim.Adam(net.parameters(), lr=5e-3), list[float]()
    while len(losses) < 60 and (not losses or losses[-1] > 0.8 * bar):
        parts = zip(tensors(net(*inputs)), goals, strict=True)
        loss = torch.stack([(part - goal).square().mean() for part, goal in parts]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < bar, (losses[-1], bar)


@pytest.mark.parametrize("name", [name for name in NAMES if "supervision" in card(name)])
def test_every_output_has_the_weight_that_the_card_gives(name: str) -> None:
    outputs, shares = build(name).train()(*make_inputs(name))["out"], card(name)["supervision"]
    assert len(outputs) == len(shares) and min(shares) > 0


@pytest.mark.parametrize(("name", "spatial_dims"), FORMS)
def test_bfloat16_autocast_is_finite(name: str, spatial_dims: int) -> None:
    """Predicting, and in training forward and backward: outputs and every gradient. SLOW only predicts.

    As a run does it: narrow images go through in float32, as gradients in bfloat16 are wrong there on processors.
    """
    net, inputs = in_dims(name, spatial_dims), make_inputs(name, spatial_dims=spatial_dims)
    predicts_only = (name, spatial_dims) == SLOW
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            seen = tuple(x[:1] for x in inputs) if predicts_only else inputs
            assert all(part.isfinite().all() for part in tensors(net.eval()(*seen)))
        if predicts_only:
            return
        with NarrowInFloat32():
            outputs = tensors(net.train()(*inputs))
    assert all(part.isfinite().all() for part in outputs)
    torch.stack([part.float().square().mean() for part in outputs]).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    assert any(p.grad is not None and p.grad.any() for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_cost_is_counted(name: str) -> None:
    net, inputs = build(name).eval(), make_inputs(name)
    assert parameters(net) == sum(math.prod(p.shape) for p in net.parameters())
    assert flops(net, *inputs) > 2 * len(inputs[0])
    assert activation_memory(net, *inputs) >= sum(part.numel() for part in tensors(net.eval()(*inputs)))
