"""One network behind several runtimes, for both peers. Runs in their environments: no Hilum here.

`seconds` counts what is spent inside the network, all windows together.
"""

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

SAME = 1e-3
# Largest difference to Hilum's output on the golden input, relative to the largest output.


def settings(model: Path) -> dict[str, Any]:
    """What the model was trained for."""
    found: dict[str, Any] = json.loads((model / "settings.json").read_text())
    return found


class Plain(nn.Module):
    """The network as it is, in float32 or, for the layers that autocast names, bfloat16; on a card float16."""

    def __init__(self, net: nn.Module, half: bool, device: str = "cpu") -> None:
        super().__init__()
        self.net, self.half, self.seconds = net.eval().to(device), half, 0.0
        self.device, self.kind = device, torch.bfloat16 if device == "cpu" else torch.float16

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        began = time.perf_counter()
        with torch.autocast(self.device, self.kind) if self.half else contextlib.nullcontext():
            out = self.net(x.as_subclass(torch.Tensor)).float()
        # on a card this is the time of telling it what to do: MONAI does not wait for it either
        self.seconds += time.perf_counter() - began
        return out


class Onnx(nn.Module):
    """onnxruntime on the processors, one window at a time."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        import onnxruntime

        self.session, self.seconds = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]), 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        began, windows = time.perf_counter(), np.asarray(x, dtype=np.float32)
        found = [self.session.run(None, {"in": windows[n : n + 1]})[0] for n in range(len(windows))]
        out = torch.from_numpy(found[0] if len(found) == 1 else np.concatenate(found))
        self.seconds += time.perf_counter() - began
        return out


class OpenVino(nn.Module):
    """OpenVINO on the processors, one window at a time. precision: f32 or bf16."""

    def __init__(self, path: Path, precision: str) -> None:
        super().__init__()
        # else it reports over the network that it is used
        sys.modules.setdefault("openvino_telemetry", None)
        import openvino

        wanted = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        self.compiled, self.seconds = openvino.Core().compile_model(str(path), "CPU", wanted), 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        began, windows = time.perf_counter(), np.asarray(x, dtype=np.float32)
        found = [np.array(self.compiled([windows[n : n + 1]])[0]) for n in range(len(windows))]
        out = torch.from_numpy(found[0] if len(found) == 1 else np.concatenate(found))
        self.seconds += time.perf_counter() - began
        return out


def network(net: nn.Module, runtime: str, model: Path) -> Any:
    """The peer's own network, or the same one as a graph where the runtime is not torch."""
    if runtime in ("torch", "torch-bf16"):
        return Plain(net, runtime == "torch-bf16")
    if runtime in ("torch-cuda", "torch-cuda-half"):
        # the bundle's own setting; a row of equal precision has no TF32
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = runtime == "torch-cuda-half"
        return Plain(net, runtime == "torch-cuda-half", "cuda")
    if runtime == "onnx":
        return Onnx(model / "net.onnx")
    if runtime in ("openvino", "openvino-bf16"):
        return OpenVino(model / "net.onnx", "bf16" if runtime.endswith("bf16") else "f32")
    raise SystemExit(f"no peer runs {runtime}")


def difference(net: nn.Module, model: Path) -> float:
    """To Hilum's output on the golden input, relative; refused where it is not the same network."""
    pair = torch.load(model / "golden.pt", weights_only=True)
    with torch.inference_mode():
        out = net.eval()(pair["in"])[:, : pair["out"].shape[1]]
    found = float((out - pair["out"]).abs().max() / pair["out"].abs().max())
    if not found <= SAME:
        raise SystemExit(f"the peer's network differs from Hilum's by {found:g} of the largest output")
    return found
