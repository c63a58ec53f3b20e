"""What nnU-Net's own networks answer with made-up weights, written to tests/zoo/nnunet_outputs.npz.

    PYTHON benchmarks/zoo/nnunet_outputs.py

PYTHON: an interpreter that has dynamic-network-architectures, as the environment of the peer nnunetv2 does, which
benchmarks/predict makes below benchmarks/cache. The tests compare our network with the file, so they need no such
package, which would bring torchvision.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

OUT = Path(__file__).resolve().parents[2] / "tests" / "zoo" / "nnunet_outputs.npz"
THICK: dict[str, Any] = {
    "features": [4, 8, 16, 16],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2], [1, 2, 2]],
    "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
}
FLAT: dict[str, Any] = {"features": [4, 8, 16], "strides": [[1, 1], [2, 2], [2, 2]], "kernels": [[3, 3]] * 3}
FORMS: dict[str, dict[str, Any]] = {
    "plain 2-D": FLAT,
    "plain 3-D": THICK,
    "residual 2-D": FLAT | {"blocks": [1, 3, 2]},
    "residual 3-D": THICK | {"blocks": [1, 2, 1, 2]},
}
SHAPES = {2: (1, 2, 16, 24), 3: (1, 2, 4, 16, 24)}


def waves(number: int, shape: tuple[int, ...], high: float) -> torch.Tensor:
    """Values that anybody can make again: high * sin(1 + number + 0.7 i)."""
    count = int(np.prod(shape))
    return torch.from_numpy((high * np.sin(1 + number + 0.7 * np.arange(count))).astype(np.float32).reshape(shape))


def network(features: list[int], strides: Any, kernels: Any, blocks: list[int] | None = None) -> nn.Module:
    """Two channels in, three classes out, with deep supervision."""
    dims, stages = len(strides[0]), len(features)
    made: nn.Module = (PlainConvUNet if blocks is None else ResidualEncoderUNet)(
        2, stages, features, nn.Conv2d if dims == 2 else nn.Conv3d, kernels, strides, blocks or 2, 3,
        [2 if blocks is None else 1] * (stages - 1), conv_bias=True,
        norm_op=nn.InstanceNorm2d if dims == 2 else nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True}, deep_supervision=True,
    )  # fmt: skip
    return made


def main() -> None:
    """Answers of every form, and of every entry of its state the number of its wave and its shape."""
    kept: dict[str, Any] = {}
    states: dict[str, Any] = {}
    for name, form in FORMS.items():
        net = network(**form)
        numbers = {}
        with torch.no_grad():
            for number, parameter in enumerate(net.parameters()):
                parameter.copy_(waves(number, tuple(parameter.shape), 0.3))
                numbers[parameter.data_ptr()] = number
            answers = net(waves(0, SHAPES[len(form["strides"][0])], 1.0))
        kept |= {f"{name}/{level}": answer.numpy() for level, answer in enumerate(answers)}
        # shared weights are there by several names
        states[name] = {key: [numbers[value.data_ptr()], list(value.shape)] for key, value in net.state_dict().items()}
    told = json.dumps({"package": version("dynamic-network-architectures"), "states": states})
    np.savez_compressed(OUT, told=np.array(told), **kept)
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
