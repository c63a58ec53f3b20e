"""The predicting network of a run, with its weights, as it is looked at: whole, or without its head."""

from typing import Any

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.tasks import _build, _task


def network(task: _task.Task, run: Run, number: int = 1) -> Any:
    """The predicting network with the run's weights, in evaluation mode.

    number: of the networks of an ensemble, from 1; the first is the run's own. Refused: wrong keys or shapes (M07),
    weights of other types than the network's, and weights that are not finite (M04).
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
    own = net.state_dict()
    for name, tensor in weights.items():
        # torch would convert them without a word, and lose what the other type does not hold
        if tensor.dtype != own[name].dtype:
            seen = f"The weight {name!r} of {run.path} is stored as {tensor.dtype}, the network's is {own[name].dtype}"
            raise HilumError("HIL-M04", seen, "Use the original files")
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
