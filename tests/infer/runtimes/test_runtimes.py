"""Every runtime gives what PyTorch in float32 gives, or says why it can not."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from hilum.core import card
from hilum.core.errors import HilumError
from hilum.infer._lanes import Pace
from hilum.infer.runtimes import _choose
from hilum.infer.runtimes._stored import Stored

NAMES = _choose.names()
PATCH = {2: (24, 16), 3: (8, 12, 16)}


def net(dims: int, classes: int = 3) -> nn.Module:
    """Convolution, norm, stride and the way up again: what networks of the zoo are made of."""
    torch.manual_seed(0)
    conv, norm, up = (
        (nn.Conv2d, nn.InstanceNorm2d, nn.ConvTranspose2d) if dims == 2 else
        (nn.Conv3d, nn.InstanceNorm3d, nn.ConvTranspose3d)
    )  # fmt: skip
    return nn.Sequential(
        conv(1, 8, 3, padding=1), norm(8, affine=True), nn.LeakyReLU(0.01), conv(8, 8, 2, stride=2), up(8, 8, 2, 2),
        conv(8, classes, 1),
    ).eval()  # fmt: skip


def window(dims: int) -> torch.Tensor:
    return torch.randn(1, 1, *PATCH[dims], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_it_gives_what_torch_gives(name: str, dims: int) -> None:
    told = _choose.card(name)
    if _choose.missing(name) or not told.get("convertible", True) or ("device" in told and not _choose.native(name)):
        pytest.skip(f"{name} needs {_choose.missing(name) or 'a stored graph (test_quantise.py) or a card'}")
    own, x = net(dims), window(dims)
    with torch.inference_mode():
        wanted = own(x)
        look = _choose.prepared(name, own, x)
        found, again = look(x).cpu(), look(x).cpu()
    assert found.dtype == torch.float32 and found.shape == wanted.shape
    # a card may add up in another order
    torch.testing.assert_close(found, again, atol=1e-6 if "device" in told else 0, rtol=0)
    error = float((found - wanted).abs().max() / wanted.abs().max())
    assert error < (1e-4 if _choose.card(name)["exact"] else 5e-2), error
    assert x.equal(window(dims)), "what was asked is left alone"


@pytest.mark.parametrize("name", NAMES)
def test_every_card_is_whole(name: str) -> None:
    card = _choose.card(name)
    assert card["about"] and isinstance(card["exact"], bool) and (card.get("extra") or not card["needs"])


@pytest.mark.parametrize("there", [True, False])
def test_bfloat16_is_native_where_the_processor_says_so(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: there, raising=False)
    halves = [n for n in NAMES if not _choose.native(n) and "device" not in _choose.card(n)]
    assert halves == ([] if there else ["torch-bf16", "openvino-bf16"])


def test_the_reference_comes_first() -> None:
    assert NAMES[0] == "torch" and len(NAMES) == len(set(NAMES))


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "openvino" else real(n, *a))
    with pytest.raises(HilumError) as error:
        _choose.check("openvino")
    assert error.value.code == "HIL-INFER-12" and '-e ".[openvino]"' in str(error.value)


def test_a_network_that_can_not_be_converted_is_refused_by_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from hilum.infer.runtimes import torch_channels_last

    def broken(own: nn.Module, example: torch.Tensor, stored: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch_channels_last, "prepare", broken)
    # however fast another one is
    monkeypatch.setattr(_choose, "ENOUGH", 0)
    with pytest.raises(HilumError) as error:
        _choose.prepared("torch-channels-last", net(2), window(2))
    assert error.value.code == "HIL-INFER-13" and "no such operator" in str(error.value)
    found = _choose.chosen("auto", net(2), window(2))
    assert "no such operator" in found.left["torch-channels-last"] and found.name != "torch-channels-last"


def test_one_that_fails_at_its_first_look_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from hilum.infer.runtimes import torch_channels_last

    def broken(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("bad allocation")

    monkeypatch.setattr(torch_channels_last, "prepare", lambda own, example, stored: broken)
    monkeypatch.setattr(_choose, "ENOUGH", 0)
    found = _choose.chosen("auto", net(2), window(2))
    assert "bad allocation" in found.left["torch-channels-last"] and found.name != "torch-channels-last"


def test_auto_takes_the_fastest_that_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong runtime is left out however fast it is."""
    from hilum.infer.runtimes import torch_channels_last

    monkeypatch.setattr(torch_channels_last, "prepare", lambda own, example, stored: lambda x: -own(x))
    monkeypatch.setattr(_choose, "ENOUGH", 0)
    found = _choose.chosen("auto", net(3), window(3))
    assert found.name in found.seconds and found.seconds[found.name] == min(found.seconds.values())
    assert "torch" in found.seconds and "torch-channels-last" not in found.seconds
    assert "% of voxels" in found.left["torch-channels-last"]
    assert "by name" in found.left["torch-bf16"]


@pytest.mark.parametrize("work", [1, 4])
def test_little_work_is_left_to_the_reference(work: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying all runtimes would take longer than the work itself."""
    looks = []
    monkeypatch.setattr(_choose, "_timed", lambda look, x: looks.append(look) or (0.01, look(x)))
    found = _choose.chosen("auto", net(2), window(2), work=work)
    assert found.name == "torch" and set(found.left) == set(NAMES) - {"torch"}
    assert all("little" in why for why in found.left.values())
    assert len(looks) == (work > 1), "one look tells how much there is to do"


def test_a_slow_first_look_is_no_reason_to_try_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It pays for allocation: what counts are the looks after it."""
    spent = iter([5.0, 0.01, 0.01])
    monkeypatch.setattr(_choose, "_timed", lambda look, x: (next(spent), look(x)))
    monkeypatch.setattr(card, "there", lambda: False)
    found = _choose.chosen("auto", net(2), window(2), work=10)
    assert found.name == "torch" and found.seconds == {"torch": 0.01} and "little" in found.left["openvino"]


def test_trying_ends_where_one_is_much_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(card, "there", lambda: False)
    spent = iter([1.0, 1.0, 1.0, 0.1, 0.1])
    monkeypatch.setattr(_choose, "_timed", lambda look, x: (next(spent), look(x)))
    found = _choose.chosen("auto", net(2), window(2))
    # what is most often the fastest is tried first
    assert found.name == "openvino" and "much faster" in found.left["onnx"]
    assert "by name" in found.left["torch-bf16"]


@pytest.mark.parametrize("seconds", [4.0, 6.0, 12.0])
def test_what_converts_quickly_is_tried_earlier(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is not worth trying is said, with the time that the reference would take between both."""
    pytest.importorskip("openvino")
    monkeypatch.setattr(card, "there", lambda: False)
    monkeypatch.setattr(_choose, "_timed", lambda look, x: (seconds / 10, look(x)))
    found = _choose.chosen("auto", net(2), window(2), work=10)
    assert ("openvino" in found.seconds) == (seconds > 5)
    assert ("torch-channels-last" in found.seconds) == (seconds > 10)
    assert found.name == "torch", "what is no faster is not taken"


def test_much_work_is_worth_trying() -> None:
    assert len(_choose.chosen("auto", net(2), window(2), work=1e9).seconds) > 1


@pytest.fixture
def torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_choose, "_absent", lambda name: "not here")


@pytest.mark.usefixtures("torch_alone")
@pytest.mark.parametrize("fastest", ["torch", "torch, 2 by threads", "torch, 2 in one look", "torch, 4 in one look"])
def test_how_many_windows_at_a_time_is_measured(fastest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {
        "torch, 2 by threads": Pace(2),
        "torch, 2 in one look": Pace(batch=2),
        "torch, 4 in one look": Pace(batch=4),
    }
    own = {pace: 0.1 if name == fastest else 3.0 for name, pace in ways.items()}
    monkeypatch.setattr(_choose, "_timed", lambda look, x: (1.0 if fastest == "torch" else 2.0, look(x)))
    monkeypatch.setattr(_choose, "_pace_timed", lambda look, x, pace: own[pace])
    monkeypatch.setattr(_choose, "usual_pace", lambda name: Pace(2))
    found = _choose.chosen("auto", net(2), window(2), work=1000)
    assert found.name == "torch" and found.pace == ways.get(fastest, Pace())
    assert found.seconds.keys() == {"torch", *ways}


@pytest.mark.usefixtures("torch_alone")
@pytest.mark.parametrize("work", [20, 1000])
def test_a_pace_is_tried_where_there_is_enough_to_do(work: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_choose, "_timed", lambda look, x: (1.0, look(x)))
    found = _choose.chosen("auto", net(2), window(2), work=work)
    assert (len(found.seconds) > 1) == (work == 1000), found.seconds


@pytest.mark.usefixtures("torch_alone")
def test_large_windows_are_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_choose, "SMALL", 24 * 16 * 2)
    found = _choose.chosen("auto", net(2), window(2), work=1e9)
    assert "torch, 2 in one look" in found.seconds and "torch, 4 in one look" not in found.seconds


def test_the_pace_is_remembered_with_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILUM_CACHE", str(tmp_path))
    monkeypatch.setattr(_choose, "_absent", lambda name: "" if name == "torch-channels-last" else "not here")
    monkeypatch.setattr(_choose, "_timed", lambda look, x: (1.0, look(x)))
    monkeypatch.setattr(_choose, "_pace_timed", lambda look, x, pace: 2.0 - pace.batch / 10)
    stored, own, x = Stored(key="k"), net(2), window(2)
    first = _choose.chosen("auto", own, x, stored=stored, work=1000)
    monkeypatch.setattr(_choose, "_timed", None)
    again = _choose.chosen("auto", own, x, stored=stored, work=1000)
    assert (again.name, again.pace, again.seconds) == (first.name, first.pace, first.seconds)


def test_openvino_and_nncf_do_not_report_that_they_are_used() -> None:
    pytest.importorskip("openvino")
    code = (
        "import hilum.infer.runtimes._openvino\n"
        "import openvino\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "assert telemetry_utils.tm.__name__ == 'openvino.tools.ovc.telemetry_stub', telemetry_utils.tm\n"
        "from nncf.telemetry import wrapper\n"
        "assert isinstance(wrapper.telemetry, wrapper.NNCFTelemetryStub), wrapper.telemetry\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_export_says_nothing_of_operators_that_no_network_here_has() -> None:
    """The exporter told every user, four times, that torchvision is not there."""
    pytest.importorskip("onnxscript")
    words = (
        "import torch; from hilum.infer.runtimes import onnx; "
        "print(len(onnx.graph(torch.nn.Conv3d(1, 1, 3), torch.zeros(1, 1, 8, 8, 8))))"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 0 and done.stderr == ""


class Says(nn.Module):
    """Gives one row of classes, whatever it sees."""

    def __init__(self, row: list[float]) -> None:
        super().__init__()
        self.row = torch.tensor([row])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.row


def test_a_stored_graph_is_not_judged_by_two_classes_that_are_nearly_alike() -> None:
    """Of a whole image with one row of classes, rounding alone made another one the strongest."""

    def told(row: list[float], other: list[float], name: str = "openvino-bf16") -> None:
        _choose._check_stored(name, Says(other), Says(row), window(2), None)

    told([2.0, 2.001, -3.0], [2.001, 2.0, -3.0])
    told([2.0, -3.0], [1.9, -3.1])
    for wrong in ([-3.0, 2.0], [5.0, 5.0], [float("nan"), 2.0]):
        with pytest.raises(HilumError, match=r"of the root mean square off.*HIL-M10"):
            told([2.0, -3.0], wrong)
    # of exact numbers more is asked
    with pytest.raises(HilumError, match=r"of the largest value off.*HIL-M10"):
        told([2.0, -3.0], [1.9, -3.1], "openvino")
