"""A predictor never hands on what is no number, and says what it can not do."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.run import Run
from hilum.infer.predictor import Predictor
from hilum.planning.planner import Prepared

PREDICTING = [t for t, c in catalogue.cards("hilum.tasks").items() if c["infer"] != "sampler"]
Trained = Callable[[str], Run]


class Broken(nn.Module):
    """The network, one of whose outputs is no number."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Any) -> Any:
        out = self.net(*inputs)
        if isinstance(out, dict):
            name = next(iter(out))
            levels = out[name] if isinstance(out[name], list) else [out[name]]
            levels[0].view(-1)[0] = float("nan")
        else:
            out.view(-1)[0] = float("nan")
        return out


@pytest.mark.parametrize("task", PREDICTING)
def test_m10_an_output_that_is_no_number_gives_no_result(
    task: str, trained: Trained, ready: Callable[[str], Prepared]
) -> None:
    predictor = Predictor(trained(task))
    case = next(c for c, p in ready(task).units(predictor.plan) if p == "test")
    predictor(case)
    predictor.net = Broken(predictor.net)
    with pytest.raises(HilumError) as error:
        predictor(case)
    assert error.value.code == "HIL-M10"


def test_m10_a_generator_that_gives_no_numbers_gives_no_image(trained: Trained) -> None:
    predictor = Predictor(trained("generate"))
    predictor.net = Broken(predictor.net)
    with pytest.raises(HilumError) as error:
        predictor.generate(2, 0)
    assert error.value.code == "HIL-M10"


def test_the_same_case_gives_the_same_result(trained: Trained, ready: Callable[[str], Prepared]) -> None:
    predictor = Predictor(trained("segment"))
    case = ready("segment").dataset.cases[3]
    first, again = predictor(case)["mask"], predictor(case)["mask"]
    np.testing.assert_array_equal(first.array, again.array)
    image = case.read("image")
    assert first.array.shape == image.shape
    np.testing.assert_array_equal(first.affine, image.affine)


def test_what_it_can_not_do_is_said(trained: Trained, ready: Callable[[str], Prepared]) -> None:
    with pytest.raises(HilumError) as error:
        Predictor(trained("classify"), runtime="abacus")
    assert error.value.code == "HIL-INFER-02"
    with pytest.raises(HilumError) as error:
        Predictor(trained("classify")).generate(1, 0)
    assert error.value.code == "HIL-INFER-03"
    with pytest.raises(HilumError) as error:
        Predictor(trained("register"))(ready("classify").dataset.cases[0])
    assert error.value.code == "HIL-DATA-08"
    with pytest.raises(HilumError) as error:
        Predictor(trained("generate"))(Case("a", "a", {}))
    assert error.value.code == "HIL-INFER-03"


def test_memory_is_refused_before_it_is_taken(trained: Trained, ready: Callable[[str], Prepared]) -> None:
    with pytest.raises(HilumError) as error:
        Predictor(trained("segment"), limit=1000)(ready("segment").dataset.cases[0])
    assert error.value.code == "HIL-INFER-01"


def test_it_predicts_in_evaluation_mode_with_the_runs_weights(trained: Trained) -> None:
    run = trained("classify")
    predictor = Predictor(run)
    assert not predictor.net.training
    for name, tensor in run.weights("net").items():
        assert torch.equal(predictor.net.state_dict()[name], tensor)
