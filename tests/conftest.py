"""What the tests share: tiny phantoms, tiny plans for every task, one tiny trained run for each, and no network."""

import io
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.cli.main import main
from hilum.core import catalogue
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.planning.planner import Prepared, look
from hilum.verbs.plan import planned
from hilum.verbs.train import train

os.environ["HILUM_CACHE"] = "off"
# What a test finds must not hang on what another one left behind.

TASKS = list(catalogue.cards("hilum.tasks"))
PHANTOMS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "segment": ("heads", 4, {}),
    "classify": ("slices", 8, {"size": 32}),
    "generate": ("slices", 8, {"size": 32}),
    "detect": ("spots", 6, {"size": 64}),
    "register": ("pairs", 4, {"shape": (16, 16, 16)}),
    "reconstruct": ("kspace", 4, {"size": 16, "coils": 2, "slices": 1}),
}
# Per task: phantom, cases, options. Of a task that is not here, the first phantom that names it is made as it is.
PATCHES = {"segment": [32, 32, 32], "detect": [64, 64]}

PlanOf = Callable[..., Plan]
Command = Callable[..., tuple[int, str, str]]


def tiny(made: Plan) -> dict[str, Any]:
    """Changes that make a plan small: every network as its CARD's tiny form."""
    changes: dict[str, Any] = {"plan.batch": 2}
    if made.task in PATCHES:
        changes["plan.patch"] = PATCHES[made.task]
    if made.task == "segment":
        changes["options.overlap"] = 0.0
    for role, net in made.networks.items():
        options = dict(catalogue.card("hilum.zoo", net.name)["tiny"]["kwargs"])
        for given in ("in_channels", "out_channels", "spatial_dims", "image_size"):
            options.pop(given, None)
        changes[f"networks.{role}.options"] = options
    return changes


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The phantom folder of a task, made once; read only."""
    made: dict[str, Path] = {}

    def folder(task: str) -> Path:
        named = [n for n, c in catalogue.cards("hilum.data.phantoms").items() if task in c["tasks"]]
        name, cases, options = PHANTOMS.get(task) or (named[0], 4, {})
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / name
            catalogue.load("hilum.data.phantoms", name).make(made[name], cases, **options)
        return made[name]

    return folder


@pytest.fixture(scope="session")
def ready(data: Callable[[str], Path]) -> Callable[[str], Prepared]:
    """The phantom of a task, opened, grouped, split and fingerprinted."""
    known: dict[str, Prepared] = {}

    def looked(task: str) -> Prepared:
        if task not in known:
            known[task] = look(data(task), task, 0)
        return known[task]

    return looked


@pytest.fixture(scope="session")
def plan_of(ready: Callable[[str], Prepared]) -> PlanOf:
    """plan_of(task, steps=10, **plan keys): a tiny plan."""
    known: dict[tuple[str, int], Plan] = {}

    def made(task: str, steps: int = 10, **changes: Any) -> Plan:
        if (task, steps) not in known:
            first = planned(ready(task), task, None, None, steps, 0, {})
            known[task, steps] = planned(ready(task), task, None, None, steps, 0, tiny(first))
        return known[task, steps].edited(changes)

    return made


@pytest.fixture(scope="session")
def trained(
    data: Callable[[str], Path], plan_of: PlanOf, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Run]:
    """A run of two steps of a task, made once; read only."""
    known: dict[str, Run] = {}

    def run(task: str) -> Run:
        if task not in known:
            folder = tmp_path_factory.mktemp(f"run_{task}")
            plan_of(task, 2).write(folder / "plan.json")
            known[task] = train(data(task), task, folder / "run", plan=folder / "plan.json")
        return known[task]

    return run


@pytest.fixture(scope="session")
def hilum() -> Command:
    """hilum(*words) -> exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        out, err, before = io.StringIO(), io.StringIO(), sys.argv
        sys.argv = ["hilum", *map(str, words)]
        try:
            with redirect_stdout(out), redirect_stderr(err):
                main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            sys.argv = before
        return code, out.getvalue(), err.getvalue()

    return call


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Sums in one order, and no more than one core."""
    torch.set_num_threads(1)


def _here(host: Any) -> bool:
    """Whether that host is this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if not name or name in ("localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[list[str]]:
    """What the tests of this process, not of its children, asked of other machines: it is refused, and there is none.

    Refusing alone would not do: much that reports home does so in a thread, and swallows every error.
    """
    attempts: list[str] = []
    lookup = socket.getaddrinfo

    def refuse(target: object) -> None:
        attempts.append(str(target))
        raise OSError(f"a test asked the network for {target}")

    def guarded(honest: Callable[..., Any]) -> Callable[..., Any]:
        def connect(door: socket.socket, address: Any) -> Any:
            # a datagram socket sends nothing when it connects: Dask learns its own address so
            inet = door.family in (socket.AF_INET, socket.AF_INET6) and door.type != socket.SOCK_DGRAM
            if inet and not _here(address[0]):
                refuse(address)
            return honest(door, address)

        return connect

    def getaddrinfo(host: Any, *rest: Any, **words: Any) -> Any:
        if not _here(host):
            refuse(host)
        return lookup(host, *rest, **words)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield attempts
    assert attempts == []
