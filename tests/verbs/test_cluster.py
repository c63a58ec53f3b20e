"""Cases on several processes: the same files and the same record as on one."""

import contextlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hilum.core import card, resident
from hilum.core.calibration import Opinions
from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.infer._stages import Stages
from hilum.io import nifti
from hilum.trust import system
from hilum.verbs import _cluster
from hilum.verbs import predict as verb
from hilum.verbs.predict import predict

pytest.importorskip("distributed")


@pytest.mark.parametrize("address", ["local:", "local:0", "local:x", "local:²", "local:" + "9" * 5000])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(HilumError) as error:
        _cluster.check(address)
    assert error.value.code == "HIL-INFER-16"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(HilumError) as error:
        _cluster.check("local:2")
    assert error.value.code == "HIL-INFER-12" and '-e ".[cluster]"' in str(error.value)


class Killed:
    """A future whose worker was lost."""

    def result(self, timeout: float | None = None) -> Any:
        from distributed.scheduler import KilledWorker

        raise KilledWorker("key", None, 2)  # type: ignore[arg-type]

    def release(self) -> None:
        pass


def test_a_lost_process_costs_its_case_only() -> None:
    found = _cluster._outcome(Case("a", "", {}), Killed().result)
    assert isinstance(found, HilumError) and found.code == "HIL-INFER-17"


def test_memory_is_named_only_where_it_would_be_taken(trained: Callable[[str], Run]) -> None:
    usual = {"runtime": "auto", "memory": None, "wide": False, "roi": (), "coarse": None, "format": "nifti"}

    def remedy(task: str, **words: Any) -> str:
        given = usual | {"model": str(trained(task).path)} | words
        return str(_cluster._outcome(Case("a", "", {}), Killed().result, given).remedy)

    assert "--memory" in remedy("segment")
    others: list[dict[str, Any]] = [
        {"memory": 1 << 30}, {"wide": True}, {"coarse": "run"}, {"format": "dicom"}, {"runtime": "torch-cuda"},
    ]  # fmt: skip
    for words in others:
        assert "--memory" not in remedy("segment", **words), words
    assert "--memory" not in remedy("classify")


class Answer:
    def __init__(self, name: str) -> None:
        self.name = name

    def result(self, timeout: float | None = None) -> Any:
        return {"done": self.name}

    def release(self) -> None:
        pass


class Flaky:
    """A client: at first the process of `bad` is lost, and with it `waits`, which is well by itself."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def nthreads(self) -> dict[str, int]:
        return {"w": 1}

    def submit(self, _: Any, case: Case, __: Any, pure: bool) -> Any:
        self.asked.append(case.id)
        lost = case.id == "bad" or (case.id == "waits" and self.asked.count("waits") == 1)
        return Killed() if lost else Answer(case.id)


def test_a_case_that_only_waited_in_a_lost_process_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Flaky()
    monkeypatch.setattr(_cluster, "_client", lambda _: contextlib.nullcontext((client, 1)))
    given = [Case(name, "", {}) for name in ("bad", "waits", "well")]
    found = {case.id: outcome for case, outcome in _cluster.run(given, "local:1", {})}
    assert (found["waits"], found["well"]) == ("waits", "well")
    assert isinstance(found["bad"], HilumError) and found["bad"].code == "HIL-INFER-17"
    assert client.asked == ["bad", "waits", "well", "bad", "waits"]


def test_what_is_done_does_not_wait_for_a_lost_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more came into the record until every case was done: killed then, the call had to do all of it again."""
    client = Flaky()
    monkeypatch.setattr(_cluster, "_client", lambda _: contextlib.nullcontext((client, 1)))
    given = [Case(name, "", {}) for name in ("bad", "well", "waits", "last")]
    flow = _cluster.run(given, "local:1", {})
    assert [next(flow)[0].id for _ in range(2)] == ["well", "last"]
    assert client.asked == ["bad", "well", "waits", "last"]
    # those that lost their process come after, one at a time
    assert next(flow)[0].id == "bad" and client.asked[4:] == ["bad"]
    assert [case.id for case, _ in flow] == ["waits"]


def test_where_nothing_is_left_to_do_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was done could not be called for again once its cluster was gone."""
    monkeypatch.setattr(_cluster, "_client", lambda _: pytest.fail("a scheduler was looked for"))
    assert list(_cluster.run([], "tcp://127.0.0.1:1", {})) == []
    with pytest.raises(HilumError, match="HIL-INFER-16"):
        list(_cluster.run([], "local:0", {}))


class Slow:
    """A future that is done after some looks; None: never."""

    def __init__(self, looks: int | None, error: Exception | None = None) -> None:
        self.looks, self.asked = looks, 0
        self.error, self.status = error or TimeoutError(), "error" if error else "pending"

    def result(self, timeout: float | None = None) -> Any:
        if timeout is None:
            assert self.status == "error", "it would be waited for in vain"
            raise self.error
        self.asked += 1
        if self.looks is None or self.asked <= self.looks:
            raise TimeoutError
        return {"done": "at last"}

    def release(self) -> None:
        pass


class Leaving:
    """A client whose workers leave, or stay, once a case was asked for."""

    def __init__(self, future: Slow, stay: bool = False) -> None:
        self.future, self.stay, self.waited = future, stay, 0

    def nthreads(self) -> dict[str, int]:
        return {"w": 1} if self.stay or not self.future.asked else {}

    def submit(self, *_: Any, pure: bool) -> Slow:
        return self.future

    def wait_for_workers(self, count: int, timeout: float) -> None:
        if not self.nthreads():
            self.waited += 1
            raise TimeoutError


@pytest.mark.parametrize("address", ["tcp://there:1", "local:1"])
def test_workers_that_leave_are_not_waited_for_for_ever(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A queue ends them when their time is up, and the call waited for ever, without a word."""
    client = Leaving(Slow(None))
    monkeypatch.setattr(_cluster, "_client", lambda _: contextlib.nullcontext((client, 1)))
    with pytest.raises(HilumError, match="has no workers") as error:
        list(_cluster.run([Case("a", "", {})], address, {}))
    assert error.value.code == "HIL-INFER-16" and client.waited == 1 and "has no workers now" in caplog.text
    assert ("dask worker" in error.value.remedy) == (address != "local:1")


def test_a_case_may_take_as_long_as_it_needs_while_there_are_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Leaving(Slow(5), stay=True)
    monkeypatch.setattr(_cluster, "_client", lambda _: contextlib.nullcontext((client, 1)))
    assert [found for _, found in _cluster.run([Case("a", "", {})], "tcp://there:1", {})] == ["at last"]
    assert client.future.asked == 6 and client.waited == 0


def test_a_disk_that_does_not_answer_is_no_case_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are told by one error."""
    client = Leaving(Slow(None, TimeoutError("the disk")), stay=True)
    monkeypatch.setattr(_cluster, "_client", lambda _: contextlib.nullcontext((client, 1)))
    with pytest.raises(TimeoutError, match="the disk"):
        list(_cluster.run([Case("a", "", {})], "tcp://there:1", {}))
    assert client.future.asked == 1
    # an error that came while it was looked at is told, and not that of the look
    client.future = Slow(None, ValueError("broken"))
    ((_, found),) = _cluster.run([Case("a", "", {})], "tcp://there:1", {})
    assert isinstance(found, HilumError) and found.code == "HIL-INFER-17" and "broken" in found.seen


class Failing:
    """A future that gives an error of Dask's, or of a machine without Hilum."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self, timeout: float | None = None) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (RuntimeError("Error during deserialization of the task graph."), "HIL-INFER-17", "same Hilum"),
        (ModuleNotFoundError("No module named 'hilum'"), "HIL-INFER-17", "No module named 'hilum'"),
        (AttributeError("module has no attribute 'one'"), "HIL-INFER-17", "same Hilum"),
        (CancelledError("scheduler-connection-lost"), "HIL-INFER-16", "scheduler-connection-lost"),
    ],
)
def test_other_machines_without_this_hilum_and_a_scheduler_that_ends_are_told(
    error: Exception, code: str, words: str
) -> None:
    found = _cluster._outcome(Case("a", "", {}), Failing(error).result)
    assert isinstance(found, HilumError) and found.code == code and words in str(found)


@pytest.mark.parametrize("error", [HilumError("HIL-T12", "Seen", "Wait"), OSError(28, "no space")])
def test_what_ends_every_case_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        _cluster._outcome(Case("a", "", {}), Failing(error).result)


class Busy:
    """A predictor that notes how many cases are in it at a time."""

    def __init__(self) -> None:
        self.inside, self.most, self.stages = 0, 0, Stages()
        self._counting = threading.Lock()

    def expect(self, cases: int) -> None:
        assert cases == 1

    def reads(self, case: Case) -> None:
        """Every case fits."""

    def told(self, case: Case) -> tuple[str, dict[str, Any]]:
        with self._counting:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.2)
        with self._counting:
            self.inside -= 1
        return case.id, {}


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """What a worker is given, for a folder of results that is there."""
    (tmp_path / "predictions.json").write_text(json.dumps({"key": "of this call", "done": {}}))
    given = dict.fromkeys(("wide", "maps"), False) | {"runtime": "torch", "memory": None, "roi": (), "coarse": None}
    return given | {
        "model": "nowhere", "files": "", "folder": str(tmp_path), "key": "of this call", "format": "nifti",
        "processes": 1, "cases": 1, "state": "",
    }  # fmt: skip


def test_threads_of_a_worker_do_not_share_a_predictor(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that Dask starts by itself has several, and the clock and the memory of a case are one's own."""
    busy = Busy()
    monkeypatch.setattr(_cluster, "_predictor", lambda *_: busy)
    monkeypatch.setattr(verb, "finishing", lambda *_: lambda case, told, reading: {"told": told[0]})
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda name: _cluster.one(Case(name, "", {}), settings), "ab"))
    assert found == [{"done": {"told": "a"}}, {"done": {"told": "b"}}] and busy.most == 1


@pytest.mark.parametrize("text", [None, "", "[]", '{"key": "of another call"}'])
def test_a_worker_that_has_another_folder_there_is_refused(
    text: str | None, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its results would lie on a disk that nobody looks at, and be noted as done."""
    monkeypatch.setattr(_cluster, "_predictor", lambda *_: pytest.fail("a model was opened"))
    (tmp_path / "predictions.json").unlink()
    if text is not None:
        (tmp_path / "predictions.json").write_text(text)
    code, seen, _ = _cluster.one(Case("a", "", {}), settings)["error"]
    assert code == "HIL-INFER-21" and str(tmp_path) in seen and "predictions.json" in seen


def test_a_worker_that_has_another_model_there_is_refused(
    trained: Callable[[str], Run], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("segment")
    opened: list[Run] = []
    monkeypatch.setattr(system, "trusted", lambda run, *_: opened.append(run) or Busy())
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    words = settings | {"model": str(run.path), "files": _cluster.digest(run.hashes() | {"plan.json": "0"})}
    code, seen, _ = _cluster.one(Case("a", "", {}), words)["error"]
    assert code == "HIL-INFER-21" and str(run.path) in seen and not opened
    _cluster._predictor.cache_clear()
    _cluster._predictor(str(run.path), _cluster.digest(run.hashes()), "torch", None, False, False, (), None, 1)
    assert [one.path for one in opened] == [run.path]
    _cluster._predictor.cache_clear()


@pytest.mark.parametrize("words", [{"runtime": "torch-cuda"}, {"runtime": "torch", "memory": "4GB"}])
def test_the_caller_has_not_to_have_what_its_workers_compute_with(
    words: dict[str, str],
    trained: Callable[[str], Run],
    data: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A card, or a system that tells what memory a process holds."""
    row = {"files": [], "verdict": {"decision": "person", "reasons": []}, "warnings": []}
    asked: list[dict[str, Any]] = []

    def run(cases: list[Case], _: str, settings: dict[str, Any]) -> Iterator[tuple[Case, Any]]:
        asked.append(settings)
        return iter([(case, row) for case in cases])

    monkeypatch.setattr(_cluster, "run", run)
    monkeypatch.setattr(card, "there", lambda: False)
    monkeypatch.setattr(resident, "now", lambda: 0)
    image = sorted((data("segment") / "images").iterdir())[0]
    done = predict(trained("segment").path, [image], tmp_path / "out", cluster="local:2", **words)["done"]
    assert len(done) == 1 and asked[0]["runtime"] == words["runtime"]
    assert asked[0]["memory"] == (4 << 30 if "memory" in words else None)
    with pytest.raises(HilumError, match="HIL-INFER-02"):
        predict(trained("segment").path, [image], tmp_path / "other", cluster="local:2", runtime="quick")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{}", "pigeon://127.0.0.1:{}", "tls://127.0.0.1:{}"])
def test_an_address_where_no_scheduler_answers_is_refused_and_leaves_nothing(
    address: str,
    trained: Callable[[str], Run],
    data: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import distributed

    honest = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda where, timeout: honest(where, timeout=min(timeout, 0.5)))
    with socket.socket() as door:
        # bound and not listening: nobody else can answer there meanwhile
        door.bind(("127.0.0.1", 0))
        wrong = address.format(door.getsockname()[1])
        image = sorted((data("segment") / "images").iterdir())[0]
        with pytest.raises(HilumError) as error:
            predict(trained("segment").path, [image], tmp_path / "out", cluster=wrong, runtime="torch")
    assert error.value.code == "HIL-INFER-16" and wrong in error.value.seen
    assert not (tmp_path / "out").exists()


def of_one_network(run: Run) -> None:
    """The run as it is."""


def of_several(run: Run) -> None:
    """The run as an ensemble."""
    known = run.calibration
    assert known is not None
    made = known.model_copy(update={"opinions": Opinions(kind="ensemble", count=2)})
    (run.path / "calibration.json").write_text(made.model_dump_json())
    run.write_manifest()


@pytest.mark.parametrize(
    ("task", "made", "words"),
    [("classify", of_one_network, "masks by class"), ("segment", of_several, "several networks")],
)
def test_eight_bits_that_a_run_can_not_have_are_refused_before_an_input_is_looked_at(
    task: str, made: Callable[[Run], None], words: str, trained: Callable[[str], Run], tmp_path: Path
) -> None:
    """Every worker would refuse every case, and the call end by saying that no input gave a result."""
    shutil.copytree(trained(task).path, tmp_path / "run")
    made(Run(tmp_path / "run"))
    with pytest.raises(HilumError, match=words) as error:
        predict(
            tmp_path / "run", [tmp_path / "not looked at.png"], tmp_path / "out", cluster="local:1",
            runtime="openvino-int8",
        )  # fmt: skip
    assert error.value.code == "HIL-INFER-15" and not (tmp_path / "out").exists()


@pytest.mark.parametrize("cluster", ["local:1", None])
def test_eight_bits_that_nobody_made_are_refused_before_an_input_is_looked_at(
    cluster: str | None, trained: Callable[[str], Run], tmp_path: Path
) -> None:
    """Every case failed by itself, of thousands every one, and the remedy was lost among the reasons."""
    words: dict[str, Any] = {"cluster": cluster, "runtime": "openvino-int8"}
    pytest.importorskip("openvino")
    with pytest.raises(HilumError, match="hilum quantise RUN DATA") as error:
        predict(trained("segment").path, [tmp_path / "not looked at.png"], tmp_path / "out", **words)
    assert error.value.code == "HIL-INFER-14" and not (tmp_path / "out").exists()


@pytest.mark.parametrize("cluster", ["local:1", None])
def test_eight_bits_that_the_coarse_model_lacks_are_refused_before_an_input_is_looked_at(
    cluster: str | None, trained: Callable[[str], Run], tmp_path: Path
) -> None:
    """They are wanted of both: every case was read, and failed by itself."""
    pytest.importorskip("openvino")
    coarse, fine = trained("segment").path, Run(shutil.copytree(trained("segment").path, tmp_path / "run"))
    (fine.path / "graphs").mkdir(exist_ok=True)
    (fine.path / "graphs" / "openvino_int8.xml").write_text("not looked at")
    fine.write_manifest()
    words: dict[str, Any] = {"cluster": cluster, "runtime": "openvino-int8", "coarse": coarse}
    with pytest.raises(HilumError, match="hilum quantise RUN DATA") as error:
        predict(fine.path, [tmp_path / "not looked at.png"], tmp_path / "out", **words)
    assert error.value.code == "HIL-INFER-14" and str(coarse) in error.value.seen and not (tmp_path / "out").exists()


def test_two_calls_on_one_machine_do_not_want_one_port() -> None:
    """With both at once the second one was warned, which is an error here."""
    with socket.socket() as other:
        # where something listens already, that is as good
        with contextlib.suppress(OSError):
            other.bind(("127.0.0.1", 8787))
            other.listen()
        with _cluster._client("local:1") as (client, processes):
            assert processes == 1 and client.submit(sum, [1, 2]).result() == 3


def test_a_scheduler_without_workers_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its cases waited without a word."""
    from distributed import LocalCluster

    monkeypatch.setattr(_cluster, "PATIENCE", 0.3)
    words: dict[str, Any] = {"dashboard_address": None, "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"}}
    with LocalCluster(n_workers=0, host="127.0.0.1", silence_logs=50, **words) as empty:
        address = empty.scheduler_address
        with pytest.raises(HilumError, match="has no workers") as error:
            next(_cluster.run([Case("a", "", {})], address, {}))
    assert error.value.code == "HIL-INFER-16" and address in error.value.seen
    assert f"Start some with: dask worker {address}" in error.value.remedy and "has no workers now" in caplog.text


def test_results_are_the_same(trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path) -> None:
    images = sorted((data("segment") / "images").iterdir())
    damaged = tmp_path / "in" / "zz_broken.nii.gz"
    damaged.parent.mkdir()
    damaged.write_bytes(images[0].read_bytes()[:2000])
    model, given = trained("segment").path, [*images[:3], damaged]
    # of one runtime: which one a busy machine finds the fastest is not the same twice
    alone = predict(model, list(given), tmp_path / "one", runtime="torch")
    shared = predict(model, list(given), tmp_path / "two", cluster="local:2", runtime="torch")
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


def test_a_scheduler_that_ends_before_lost_cases_are_asked_again_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a traceback: what was lost is sent anew, which a closed client refuses by an error of its own."""
    from distributed.client import ClosedClientError
    from distributed.scheduler import KilledWorker

    class Ended(Leaving):
        sent = 0

        def submit(self, *_: Any, **__: Any) -> Any:
            self.sent += 1
            if self.sent > 1:
                raise ClosedClientError("Client is closed")
            return Slow(None, KilledWorker("one", None, 1))

    client = Ended(Slow(0), stay=True)
    monkeypatch.setattr(_cluster, "_client", lambda _: contextlib.nullcontext((client, 1)))
    ((_, found),) = _cluster.run([Case("a", "", {})], "tcp://there:1", {})
    assert isinstance(found, HilumError) and found.code == "HIL-INFER-16" and "Client is closed" in found.seen
