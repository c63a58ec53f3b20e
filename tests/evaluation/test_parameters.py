"""Parameters are what a network has learned: statistics of norms and fixed kernels lie in its weights file too."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from hilum.core.plan import Plan, checked
from hilum.core.run import Run
from hilum.evaluation.provenance import learned
from hilum.tasks import _build, _task
from hilum.zoo._cost import parameters

PLAN: dict[str, Any] = {
    "task": "segment", "dims": 2, "roles": ["image", "label"], "channels": ["image"], "patch": [32, 32], "batch": 2,
    "normalisation": [{"scheme": "zscore"}], "regime": "supervised", "classes": [{"value": 1, "name": "cell"}],
    "steps": 4, "options": {}, "learning": {"rate": 0.001, "keep": "last", "start": None}, "augment": [], "seed": 0,
    "split_seed": 0, "versions": {}, "machine": {}, "data": {"name": "phantom", "layout": "images_labels"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options", "fixed"),
    [
        ("unet", {"widths": [4, 8], "norm": "batch"}, "running_mean"),
        ("sharp_unet", {"widths": [4, 8]}, "weight"),
        ("nnunet", {"features": [4, 8], "strides": [1, 2]}, ""),
    ],
)
def test_what_was_not_learned_does_not_count(name: str, options: dict[str, Any], fixed: str, tmp_path: Path) -> None:
    plan = checked(Plan, PLAN | {"networks": {"net": {"name": name, "options": options}}}, "plan")
    net = _build.build(_task.load(plan), "net")
    state = {key: value.clone() for key, value in net.state_dict().items()}
    (tmp_path / "weights").mkdir()
    plan.write(tmp_path / "plan.json")
    save_file(state, tmp_path / "weights" / "net.safetensors")
    run = Run(tmp_path)
    run.write_manifest()
    assert learned(run, "net") == parameters(net)
    held = [key for key, _ in net.named_buffers() if key in state]
    assert any(key.endswith(fixed) for key in held) if fixed else not held
    assert (sum(value.numel() for value in state.values()) > learned(run, "net")) is bool(fixed)
    assert torch.equal(run.weights("net")[next(iter(state))], next(iter(state.values())))
