"""The predicting network of a run, with its weights, as it is looked at: whole, or without its head."""

from typing import Any

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.tasks import _build, _task


def network(task: _task.Task, run: Run, number: int = 1) -> Any:
    """The predicting network with the run's weights, in evaluation mode; wrong keys or shapes are refused (M07).

    number: of the networks of an ensemble, from 1; the first is the run's own.
    """
    role = _build.predicting(task.plan)
    net, weights = _build.build(task, role), run.weights(role if number == 1 else f"{role}.{number}")
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise HilumError(
            "HIL-M07", f"The weights of {run.path} do not fit its plan ({first})", "Use the original files"
        ) from error
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise HilumError("HIL-M04", f"The weight {name!r} of {run.path} is not finite", "Train again")
    return net.eval()


def features_of(net: Any) -> Any:
    """The part of a network before its head as a module of its own, in evaluation mode."""
    from torch import nn

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            return self.net.features(x)

    return Features().eval()
