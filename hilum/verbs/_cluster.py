"""Many cases on several processes or machines, by Dask: the same work as in _flow.py, the same results.

Dask and not Ray: it is small, plain Python, runs on the clusters that hospitals and universities have (SSH, Slurm),
and tells nobody that it is used. Scheduler and workers exchange pickled objects: only ever name a scheduler
of your own, on a network that you trust. Model, inputs and the folder of results must have the same paths everywhere.
"""

import contextlib
import functools
import hashlib
import json
import logging
import math
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.extras import install
from hilum.core.image import Case
from hilum.core.run import Run
from hilum.verbs import _record

log = logging.getLogger(__name__)
LOCAL, COUNT = "local:", re.compile("0*[1-9][0-9]{0,3}")
# What processes here are asked for by, and how many there can be.
WORDS = ("model", "files", "runtime", "memory", "wide", "maps", "roi", "coarse", "processes")
# What a predictor is made from: files is the `digest` of `files_of`, memory bytes or None, coarse a path or None,
# processes those that share a machine.
LOSSES = 1
# Processes that a case may lose before it is asked again alone, and then before it is given up.
PATIENCE = 600
# Seconds that a scheduler elsewhere may take until it has a worker, or has one again: one that grows starts some once
# it is asked, and a queue lets them wait.
LOOK = 60
# Seconds after which it is looked whether there are workers still: a case may take as long as it needs.
_alone = threading.Lock()
# The predictor of a process, its clock and what it tried last are for one case at a time.


def check(address: str) -> None:
    """Refuse an address that is none (HIL-INFER-16), and a missing package (HIL-INFER-12)."""
    if address.startswith(LOCAL) and not COUNT.fullmatch(address[len(LOCAL) :]):
        raise HilumError(
            "HIL-INFER-16", f"--cluster is {address!r}", "Use local:N for N processes here, or tcp://host:8786"
        )
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise HilumError("HIL-INFER-12", "--cluster needs Dask, which is not installed", install("cluster")) from error


def run(cases: Sequence[Case], address: str, settings: dict[str, Any]) -> Iterator[tuple[Case, Any]]:
    """Each case with what the record keeps of it, or its HilumError; see `one` for the settings.

    In order, but that those whose process was lost come last: nothing that is done waits for them.
    """
    check(address)
    if not cases:
        return
    import dask

    # of a scheduler elsewhere it is a setting of its own
    known = dask.config.set({"distributed.scheduler.allowed-failures": LOSSES})
    with known, _client(address) as (client, processes):
        each = math.ceil(len(cases) / max(1, len(client.nthreads())))
        given = {**settings, "processes": processes, "cases": each}

        def sent(case: Case) -> Any:
            return client.submit(one, case, given, pure=False)

        futures = [sent(case) for case in cases]
        if not address.startswith(LOCAL):
            _awaited(client, address)

        def outcome(case: Case, future: Any = None) -> Any:
            def ask() -> Any:
                asked = sent(case) if future is None else future
                found = _given(asked, client, address)
                # its memory on the worker
                asked.release()
                return found

            return _outcome(case, ask, given)

        lost: list[Case] = []
        for case, future in zip(cases, futures, strict=True):
            found = outcome(case, future)
            if isinstance(found, Lost):
                lost.append(case)
            else:
                yield case, found
        for case in lost:
            # what only waited in a process that was lost is lost with it: each once more, with nothing beside it
            yield case, outcome(case)


def one(case: Case, settings: dict[str, Any]) -> dict[str, Any]:
    """In a worker: predict and write one case; {"done": row} or {"error": [code, seen, remedy]}.

    settings: WORDS, and folder, key (of the record there), format, state (of the model, for DICOM), cases (about, of
    each). One case at a time, whatever the threads of the worker: they share a predictor. Another model or folder than
    the caller's is refused (HIL-INFER-21).
    """
    from hilum.verbs import _flow
    from hilum.verbs.predict import READ, finishing

    with _alone:
        try:
            folder = Path(settings["folder"])
            _check_folder(folder, settings["key"])
            predictor = _predictor(*(settings[name] for name in WORDS))
            predictor.expect(settings["cases"])
            finish = finishing(folder, settings["format"], predictor.stages, settings["state"])
            ((_, outcome),) = _flow.run([case], READ, predictor.told, finish, ahead=False, before=predictor.reads)
        except HilumError as error:
            outcome = error
    if isinstance(outcome, HilumError):
        return {"error": [outcome.code, outcome.seen, outcome.remedy]}
    return {"done": outcome}


def digest(hashes: Mapping[str, str]) -> str:
    """One hash for the files of a model, of their own ({name: SHA-256}, as `Run.hashes` has them)."""
    return hashlib.sha256(json.dumps(dict(sorted(hashes.items()))).encode()).hexdigest()


def files_of(run: Run, coarse: Run | None) -> dict[str, str]:
    """The hashes of the files of both models, for `digest`."""
    return run.hashes() | ({} if coarse is None else {f"coarse/{name}": one for name, one in coarse.hashes().items()})


@functools.lru_cache(maxsize=1)
def _check_folder(folder: Path, key: str) -> None:
    """Refuse a folder without the caller's record, which is written before the first case is sent (HIL-INFER-21).

    Looked at once in a process: the record grows with the cases.
    """
    with contextlib.suppress(OSError, ValueError):
        record = json.loads((folder / _record.NAME).read_text(encoding="utf-8"))
        if isinstance(record, dict) and record.get("key") == key:
            return
    raise _elsewhere(f"{folder} is another folder here: it does not hold the {_record.NAME} of this call")


def _elsewhere(seen: str) -> HilumError:
    return HilumError(
        "HIL-INFER-21", f"On the worker {socket.gethostname()}, {seen}",
        "Model, inputs and --out must lie at the same paths on every machine, best on a disk that all share",
    )  # fmt: skip


@functools.lru_cache(maxsize=1)
def _predictor(
    model: str, files: str, runtime: str, memory: int | None, wide: bool, maps: bool, roi: tuple[str, ...],
    coarse: str | None, processes: int,
) -> Any:  # fmt: skip
    """Opened once in a process; the processors of a machine are shared between its processes.

    files: `digest` of the caller's. A worker that outlives a call opens a model that has changed anew, and one that has
    another model at that path refuses it (HIL-INFER-21).
    """
    import torch

    from hilum.planning import machine
    from hilum.trust.system import trusted

    run, other = Run(Path(model)), None if coarse is None else Run(Path(coarse))
    if digest(files_of(run, other)) != files:
        raise _elsewhere(f"{' or '.join(filter(None, (model, coarse)))} is another model than the caller's")
    torch.set_num_threads(max(1, machine.cores() // processes))
    return trusted(run, runtime, memory, wide, maps, roi, other)


@contextmanager
def _client(address: str) -> Iterator[tuple[Any, int]]:
    """A client of the scheduler, and how many processes share a machine; local ones end with it."""
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        where: Any = address
        processes = 1
        if address.startswith(LOCAL):
            processes = int(address[len(LOCAL) :])
            # no page of its own, and nothing that others can reach. It listens for its figures all the same, by default
            # at one port for all calls on a machine
            where = stack.enter_context(
                LocalCluster(
                    n_workers=processes, threads_per_worker=1, host="127.0.0.1", dashboard_address=None,
                    scheduler_kwargs={"dashboard_address": "127.0.0.1:0"}, silence_logs=50, memory_limit=0,
                )
            )  # fmt: skip
        try:
            client = stack.enter_context(Client(where, timeout=20))
        except (OSError, ValueError) as error:
            raise HilumError(
                "HIL-INFER-16", f"There is no scheduler at {address} ({error})", "Start one with: dask scheduler"
            ) from error
        except (TypeError, ImportError) as error:
            raise HilumError(
                "HIL-INFER-16", f"Dask can not reach {address} as it is set up here ({_words(error)})",
                "Give it what such an address needs (of tls:// the keys, distributed.comm.tls), or use tcp://host:8786",
            ) from error  # fmt: skip
        yield client, processes


def _awaited(client: Any, address: str) -> None:
    """Wait for a worker; a scheduler that has none is refused (HIL-INFER-16), and not waited for in silence."""
    if not client.nthreads():
        log.warning("The scheduler at %s has no workers now; they are waited for, for %g s at most", address, PATIENCE)
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        start = f"Start some with: dask worker {address}; where they wait in a queue, come back once they run"
        fewer = "Most often memory ran out: use fewer processes; the same call goes on where it stopped"
        raise HilumError(
            "HIL-INFER-16", f"The scheduler at {address} has no workers", fewer if address.startswith(LOCAL) else start
        ) from error


def _given(future: Any, client: Any, address: str) -> Any:
    """What a worker gives, however long it takes; where all workers have left, one is waited for (`_awaited`)."""
    while True:
        try:
            return future.result(timeout=LOOK)
        except TimeoutError:
            if future.status == "error":
                # of the case itself, as of a disk that does not answer; or what ended it just now
                return future.result()
        # of a scheduler that ended meanwhile the future tells
        with contextlib.suppress(OSError):
            if not client.nthreads():
                _awaited(client, address)


class Lost(HilumError):
    """The process of a case was ended as often as is borne."""


def _fewer(settings: Mapping[str, Any]) -> str:
    """What helps where memory ran out: --memory too, where it is not given and these settings take it."""
    from hilum.verbs.predict import takes_limit

    asked = settings.get("memory") is None and "model" in settings
    able = asked and takes_limit(Run(Path(settings["model"])), settings)
    return "use fewer processes" + (", or --memory, which refuses what is too large" if able else "")


def _outcome(case: Case, ask: Callable[[], Any], settings: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """What the worker gave. ask: for it. A worker that was lost (`Lost`), or that can not run what was sent
    (HIL-INFER-17), costs this case only; so does a scheduler that gave the case up, or ended (HIL-INFER-16)."""
    from distributed import CancelledError
    from distributed.client import ClosedClientError
    from distributed.scheduler import KilledWorker

    try:
        found = ask()
    except (HilumError, OSError):
        raise
    except KilledWorker:
        return Lost(
            "HIL-INFER-17", f"The process that predicted {case.id} was ended, and again when it had this case alone",
            f"Most often memory ran out: {_fewer(settings)}",
        )  # fmt: skip
    except (CancelledError, ClosedClientError) as error:
        return HilumError(
            "HIL-INFER-16", f"The scheduler ended, or gave up {case.id} ({_words(error)})",
            "Start it again with: dask scheduler; the same call then goes on where it stopped",
        )  # fmt: skip
    except Exception as error:  # whatever unpickling or running it elsewhere runs into
        return HilumError(
            "HIL-INFER-17", f"{case.id} could not be predicted elsewhere ({type(error).__name__}: {_words(error)})",
            "Install the same Hilum, of the same versions, on every machine, that of the scheduler too",
        )  # fmt: skip
    return HilumError(*found["error"]) if "error" in found else found["done"]


def _words(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:300]
