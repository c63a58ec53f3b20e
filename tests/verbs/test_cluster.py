"""Cases on several processes: the same files and the same record as on one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.io import nifti
from hilum.verbs import _cluster
from hilum.verbs.predict import predict

pytest.importorskip("distributed")


@pytest.mark.parametrize("address", ["local:", "local:0", "local:x"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(HilumError) as error:
        _cluster.check(address)
    assert error.value.code == "HIL-INFER-16"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(HilumError) as error:
        _cluster.check("local:2")
    assert error.value.code == "HIL-INFER-12" and "hilum[cluster]" in str(error.value)


class Killed:
    """A future whose worker was lost."""

    def result(self) -> Any:
        from distributed.scheduler import KilledWorker

        raise KilledWorker("key", None, 2)  # type: ignore[arg-type]


def test_a_lost_process_costs_its_case_only() -> None:
    found = _cluster._outcome(Case("a", "", {}), Killed())
    assert isinstance(found, HilumError) and found.code == "HIL-INFER-17"


def test_results_are_the_same(trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path) -> None:
    images = sorted((data("segment") / "images").iterdir())
    damaged = tmp_path / "in" / "zz_broken.nii.gz"
    damaged.parent.mkdir()
    damaged.write_bytes(images[0].read_bytes()[:2000])
    model, given = trained("segment").path, [*images[:3], damaged]
    alone = predict(model, list(given), tmp_path / "one")
    shared = predict(model, list(given), tmp_path / "two", cluster="local:2")
    assert list(alone["done"]) == list(shared["done"]) and len(shared["failed"]) == 1
    assert alone["failed"][0]["code"] == shared["failed"][0]["code"]
    for name, done in alone["done"].items():
        rest = {k: v for k, v in shared["done"][name].items() if k != "cost"}
        assert rest == {k: v for k, v in done.items() if k != "cost"}
        for file in done["files"]:
            if file.endswith(".nii.gz"):
                pair = [nifti.read(tmp_path / folder / file) for folder in ("one", "two")]
                assert all(isinstance(one, Image) for one in pair)
                np.testing.assert_array_equal(pair[0].array, pair[1].array)
    assert (tmp_path / "one" / "worklist.csv").read_text() == (tmp_path / "two" / "worklist.csv").read_text()
