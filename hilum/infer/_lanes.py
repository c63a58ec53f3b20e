"""Windows on their way through a network: some are computed while the answer to another is merged."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Waiting = Callable[[], AbstractContextManager[None]]
# Entered while an answer is waited for.


def answers(
    look: "Callable[[Tensor], Tensor]", windows: "Iterable[Tensor]", lanes: int = 0, waiting: Waiting = nullcontext
) -> "Generator[Tensor]":
    """`look` at each window, in order, as it is asked for. 0 lanes: in turn, by the caller, when asked.

    lanes: so many windows are computed at a time, by threads that share torch's processors among them; as many answers
    again may wait. Whoever ends early gets the processors back.
    """
    import torch

    def one(window: "Tensor") -> "Tensor":
        # of the thread that computes, whatever the caller's is
        with torch.inference_mode():
            return look(window)

    if lanes == 0:
        for window in windows:
            with waiting():
                out = one(window)
            yield out
        return
    threads, coming = torch.get_num_threads(), deque["Future[Tensor]"]()
    torch.set_num_threads(max(1, threads // lanes))
    pool = ThreadPoolExecutor(lanes, "window")
    try:
        for window in windows:
            coming.append(pool.submit(one, window))
            if len(coming) > lanes:
                with waiting():
                    out = coming.popleft().result()
                yield out
        while coming:
            with waiting():
                out = coming.popleft().result()
            yield out
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
