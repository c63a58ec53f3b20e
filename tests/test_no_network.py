"""No test talks to another machine: who tries is refused and noted (`no_network` in conftest.py).

Watched is the process of the tests. Those that it starts are not (commands, training on several devices, clusters), but
for decoders, which have no network where the system lets them give it up (`io/_confined`).
"""

import contextlib
import socket

import pytest

AWAY = ("192.0.2.1", 9)
# An address that is kept for documents: nobody has it.


def test_another_machine_is_refused_and_noted(no_network: list[str]) -> None:
    for ask in ("connect", "connect_ex"):
        with socket.socket() as door, pytest.raises(OSError, match="asked the network"):
            door.settimeout(1)
            getattr(door, ask)(AWAY)
    with pytest.raises(OSError, match="asked the network"):
        socket.getaddrinfo("example.org", 80)
    # these three were meant
    assert [no_network.pop() for _ in range(3)] == ["example.org", str(AWAY), str(AWAY)]


def test_this_machine_is_reached_as_before(no_network: list[str]) -> None:
    noted = list(no_network)
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname(), 10) as guest:
        assert guest.getpeername() == door.getsockname()
    # it sends nothing; where there is no network at all, the system refuses by itself
    with socket.socket(type=socket.SOCK_DGRAM) as door, contextlib.suppress(OSError):
        door.connect(AWAY)
    assert no_network == noted
