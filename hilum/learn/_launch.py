"""A run is trained here in this process, or by several processes that share every batch (data parallel)."""

import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any

from hilum.core import catalogue
from hilum.core.atomic import clear
from hilum.core.errors import RESUME, HilumError, Stopped
from hilum.core.image import Case
from hilum.core.plan import Plan
from hilum.core.progress import Progress
from hilum.learn import _device
from hilum.learn._loop import Training

Units = list[tuple[Case, str]]
LATER = 2.0
# Seconds after which a process that lost the others ends.


def launch(
    folder: Path,
    plan: Plan,
    units: Units,
    progress: Progress,
    *,
    resume: bool,
    accelerator: str = "auto",
    devices: int = 1,
    start: Any = None,
    accept: Sequence[str] = (),
    track: str | None = None,
) -> None:
    """Train the run that lies in `folder` to its end: weights, curve and checkpoint are then there."""
    if devices == 1:
        more: dict[str, Any] = {"accelerator": accelerator, "start": start, "accept": accept, "track": track}
        Training(folder, plan, units, progress, **more).run(resume)
        return
    if not catalogue.card("hilum.learn", plan.regime)["parallel"]:
        raise HilumError(
            "HIL-LEARN-03", f"{plan.regime} learns on one device, but {devices} are asked for", "Leave out --devices"
        )
    if devices < 1 or plan.batch % devices:
        raise HilumError(
            "HIL-LEARN-03", f"A batch of {plan.batch} can not be shared by {devices} devices",
            "Give a number of devices that divides plan.batch, or --set plan.batch=N",
        )  # fmt: skip
    words = {"folder": folder, "plan": plan, "units": units, "resume": resume, "accelerator": accelerator}
    _together(plan, progress, accelerator, devices, words | {"start": start, "accept": accept, "track": track})


class Listener:
    """Hears what the processes say: the progress of the first one, and the sentence of any that refuses.

    Each has a pipe of its own: a queue's lock would stay taken if a process were killed while it speaks.
    """

    def __init__(self, devices: int, progress: Progress) -> None:
        pipes = [multiprocessing.get_context("spawn").Pipe(duplex=False) for _ in range(devices)]
        self._readers = [reader for reader, _ in pipes]
        self.writers = [writer for _, writer in pipes]
        self.error: HilumError | None = None
        self.raised: BaseException | None = None
        self.step = 0
        self._progress, self._over = progress, threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "Listener":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hear what was said last, then end."""
        self._over.set()
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            for end in (*self._readers, *self.writers):
                end.close()

    def _listen(self) -> None:
        while True:
            # what was sent before the end came is there to be read once it has come
            over = self._over.is_set()
            spoken: list[Any] = wait(self._readers, timeout=0 if over else 0.1)
            for reader in spoken:
                self._hear(*reader.recv())
            if over and not spoken:
                return

    def _hear(self, kind: str, words: tuple[Any, ...]) -> None:
        if kind == "error":
            self.error = self.error or HilumError(*words)
            return
        if words[0] == "train":
            self.step = words[1]
        if self.raised is not None:
            return
        try:
            self._progress(*words)
        except BaseException as error:
            # said in the thread that waits; what the processes still say is heard, or they would wait for it
            self.raised = error
            for child in multiprocessing.active_children():
                child.terminate()


def _together(plan: Plan, progress: Progress, accelerator: str, devices: int, words: dict[str, Any]) -> None:
    """Several processes; what they say is said here, and signals are passed on to them."""
    import torch.multiprocessing as mp

    made = _device.fabric(_device.frozen(plan, accelerator), accelerator, devices)
    with Listener(devices, progress) as listener, _passing_on():
        try:
            # one argument that Fabric does not look into: it would rewrite the cases
            made.launch(functools.partial(_one, tellers=listener.writers, **words))
        except (mp.ProcessExitedException, mp.ProcessRaisedException) as error:
            listener.close()
            # what a process was writing when it was killed; none of them writes any more
            clear(words["folder"])
            raise _reason(error, listener) from error


def _reason(error: Any, listener: Listener) -> BaseException:
    """Why the processes ended, as what one process would have raised."""
    if listener.raised is not None:
        return listener.raised
    if listener.error is not None:
        return listener.error
    code = getattr(error, "exit_code", None)
    if code is None:
        last = str(error).strip().splitlines()[-1]
        return HilumError("HIL-LEARN-04", f"A training process failed ({last})", "Train with one device to see why")
    number = -code if code < 0 else code - 128
    if number in (signal.SIGTERM, signal.SIGINT):
        step = listener.step
        return Stopped(number, f"after step {step}; the state is saved, {RESUME}" if step else "before the first step")
    return HilumError(
        "HIL-T07", f"Training process {error.error_index} ended with exit code {code}",
        "Often memory ran out: use fewer devices or a smaller plan; saved steps go on with --resume",
    )  # fmt: skip


def _one(
    fabric: Any,
    *,
    tellers: list[Connection],
    folder: Path,
    plan: Plan,
    units: Units,
    resume: bool,
    accelerator: str,
    start: Any,
    accept: Sequence[str],
    track: str | None,
) -> None:
    """What each process does."""
    teller = tellers[fabric.global_rank]

    def tell(name: str, done: int, total: int, note: str = "") -> None:
        if fabric.global_rank == 0:
            teller.send(("progress", (name, done, total, note)))

    made = {"accelerator": accelerator, "fabric": fabric, "start": start, "accept": accept, "track": track}
    try:
        Training(folder, plan, units, tell, **made).run(resume)
    except HilumError as error:
        teller.send(("error", (error.code, error.seen, error.remedy)))
        raise
    except RuntimeError as error:
        if "by peer" in str(error):
            # another process ended and this one only lost its connection: the other one is to be found first
            time.sleep(LATER)
        raise
    except KeyboardInterrupt:
        # torch would take it for a good end
        raise SystemExit(128 + signal.SIGINT) from None


@contextmanager
def _passing_on() -> Iterator[None]:
    """SIGTERM and SIGINT go to every process that trains; they save and end, and so does this one."""

    def pass_on(number: int, _: FrameType | None) -> None:
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
