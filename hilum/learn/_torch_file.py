"""Tensors from a PyTorch .pt or .pth file, by reading its pickle as data: nothing in the file is ever called.

torch.load, with weights_only too, has run or corrupted what a foreign file asked for (faults M02), and refuses real
checkpoints that hold a numpy number. Here a small interpreter walks the opcodes. It knows dicts, lists, numbers, text
and tensors; a few harmless names become empty stand-ins; any other name is refused before anything is made of it.

Only the zip form (PyTorch 1.6 and later) is read, and only uncompressed members, as torch writes them: a file can then
not grow when it is opened.
"""

import math
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hilum.core import _members
from hilum.core.errors import HilumError

STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
# torch's names of typed storages, and their type.
DICTS = {"collections.OrderedDict", "collections.defaultdict", "collections.Counter"}
TENSORS = {"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"}
INERT = {
    *(f"numpy{core}.multiarray.{name}" for core in (".core", "._core") for name in ("scalar", "_reconstruct")),
    *("numpy.dtype", "numpy.ndarray", "_codecs.encode", "argparse.Namespace", "datetime.datetime", "torch.device"),
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath")),
    *(f"builtins.{name}" for name in ("set", "frozenset", "list", "dict", "slice", "complex", "bytearray")),
    *("torch.Size", "torch.serialization._get_layout"),
    *(f"torch.{dtype}" for dtype in STORAGES.values()),
}
# What checkpoints hold beside weights (epochs, losses, paths); each becomes a stand-in that holds nothing.


class Inert:
    """Stands for something that is not a tensor and is not looked at."""


class Name:
    """A module.name that the file mentions."""

    def __init__(self, text: str) -> None:
        self.text = text


def read(path: Path) -> Any:
    """The dicts, lists, numbers and tensors (on the CPU) of the file.

    Refused: a pickle that names anything else (HIL-M01), a damaged file (HIL-M04), TorchScript and files from before
    PyTorch 1.6 (HIL-LEARN-21).
    """
    try:
        if words := _members.crowded(path):
            raise ValueError(words)
        with zipfile.ZipFile(path) as archive:
            return _tree(path, archive)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, *_WRONG) as error:
        raise HilumError("HIL-M04", f"{path} is damaged ({error or type(error).__name__})", "Copy it again") from error


_WRONG = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, RuntimeError)
# What a pickle that is not what it says it is runs into.


def _tree(path: Path, archive: zipfile.ZipFile) -> Any:
    """The root object of data.pkl."""
    names = archive.namelist()
    root = next((n.removesuffix("data.pkl") for n in names if n.count("/") == 1 and n.endswith("/data.pkl")), None)
    if root is None:
        raise HilumError("HIL-LEARN-21", f"{path} is a zip file without weights", "Give a run, a .hilum or a .pt file")
    if f"{root}constants.pkl" in names:
        raise HilumError(
            "HIL-LEARN-21", f"{path} is TorchScript, which holds code", "Save model.state_dict() with torch.save"
        )
    if sum(info.file_size for info in archive.infolist()) > path.stat().st_size:
        raise ValueError("its members overlap")
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise HilumError("HIL-LEARN-21", f"{path} is compressed, which torch.save never does", "Save it anew")
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
        raise HilumError("HIL-LEARN-21", f"{path} was written on a big-endian machine", "Save it as safetensors")
    return _Machine(path, lambda key: archive.read(f"{root}data/{key}")).run(archive.read(f"{root}data.pkl"))


class _Machine:
    """The pickle's stack machine without its calls."""

    def __init__(self, path: Path, storage: Callable[[str], bytes]) -> None:
        self.path, self.storage = path, storage
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.loaded: dict[str, Any] = {}
        # pairs that may still be copied: no honest file copies more than it is long
        self.copies = 0

    def run(self, data: bytes) -> Any:
        """Walk all opcodes; the object left at the end."""
        self.copies = len(data)
        for code, value, _ in pickletools.genops(data):
            if code.name == "STOP":
                return self.stack.pop()
            if code.name in _PUSHED:
                self.stack.append(_PUSHED[code.name](value))
            elif code.name in _STEPS:
                _STEPS[code.name](self, value)
            elif code.name not in ("PROTO", "FRAME"):
                raise self._refusal(f"the opcode {code.name}")
        raise ValueError("it has no end")

    def _refusal(self, what: str) -> HilumError:
        return HilumError(
            "HIL-M01", f"{self.path} needs {what} to be read, which could run code; nothing of it was run",
            "Save model.state_dict() alone, best as safetensors",
        )  # fmt: skip

    def after_mark(self) -> list[Any]:
        """Pop what lies above the last mark."""
        at = self.marks.pop()
        found, self.stack[at:] = self.stack[at:], []
        return found

    def name(self, text: str) -> None:
        """Push a name from the list of harmless ones; any other is refused (HIL-M01)."""
        # what Python 2 called it, and protocol 2 still does
        text = text.replace("__builtin__.", "builtins.")
        storage = text.startswith("torch.") and text.removeprefix("torch.") in STORAGES
        if not storage and text not in DICTS | TENSORS | INERT:
            raise self._refusal(repr(text))
        self.stack.append(Name(text))

    def made(self, maker: Any, values: Any) -> Any:
        """What a call would have made: a dict, a tensor, or a stand-in."""
        text = maker.text if isinstance(maker, Name) else ""
        if text in DICTS:
            pairs = values[-1] if values and isinstance(values[-1], list | dict) else {}
            self.copies -= len(pairs)
            if self.copies < 0:
                raise ValueError("it copies itself again and again")
            if isinstance(pairs, dict):
                return dict(pairs)
            return _named([one for key, value in pairs for one in (key, value)])
        if text == "torch._utils._rebuild_tensor_v2":
            return _tensor(*values[:4])
        if text == "torch._utils._rebuild_parameter":
            return values[0]
        return Inert()

    def inert(self, _: Any) -> Inert:
        """A stand-in for what is given."""
        return Inert()

    def store(self, identity: Any) -> Any:
        """A flat tensor of one member of data/, each read once."""
        import torch

        kind, typed, key, _, count = identity
        if kind != "storage" or not isinstance(typed, Name):
            raise self._refusal("an unknown kind of storage")
        if type(key) is not str or type(count) is not int:
            raise ValueError("a storage without a name or a size")
        if key not in self.loaded:
            content, dtype = bytearray(self.storage(key)), getattr(torch, STORAGES[typed.text.removeprefix("torch.")])
            flat = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            if len(flat) != count:
                raise ValueError(f"data/{key} holds {len(flat)} values, not {count}")
            self.loaded[key] = flat
        return self.loaded[key]

    def put(self, pairs: list[Any]) -> None:
        """Put (key, value, key, value, ...) into the dict on top of the stack; stand-ins hold nothing."""
        if not isinstance(self.stack[-1], Inert):
            self.stack[-1].update(_named(pairs))

    def extend(self, items: list[Any]) -> None:
        """Append to the list on top of the stack."""
        if not isinstance(self.stack[-1], Inert):
            self.stack[-1].extend(items)


def _tensor(flat: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """A view of the storage, for copies could fill the memory; one that reaches outside or repeats is refused."""
    numbers = (offset, *size, *stride)
    # not written out: it may be anything, and its text without end
    if len(size) != len(stride) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError("a tensor whose size and stride are no whole numbers, one for each axis")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) and (last >= len(flat) or math.prod(size) > len(flat)):
        raise ValueError(f"a tensor of size {size} in a storage of {len(flat)} values")
    return flat.as_strided(size, stride, offset)


def _tuple(count: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return step


def _pair(machine: _Machine) -> list[Any]:
    """The two uppermost objects, popped, the lower one first."""
    upper = machine.stack.pop()
    return [machine.stack.pop(), upper]


def _items(machine: _Machine) -> dict[Any, Any]:
    found = machine.after_mark()
    return _named(found)


def _named(pairs: list[Any]) -> dict[Any, Any]:
    """(key, value, key, value, ...) as a dict. A tuple is no name: to hash one that holds itself twice, and so on, has
    no end.
    """
    keys = [Inert() if isinstance(key, tuple) else key for key in pairs[::2]]
    return dict(zip(keys, pairs[1::2], strict=True))


def _plain(value: Any) -> Any:
    return value


_PUSHED: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"), _plain),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE"), _plain),
    **dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _plain),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_SET": lambda _: Inert(),
}
_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.after_mark(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "MEMOIZE": lambda m, _: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda m, v: m.memo.__setitem__(int(v), m.stack[-1])),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, v: m.stack.append(m.memo[int(v)])),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.after_mark())),
    "LIST": lambda m, _: m.stack.append(m.after_mark()),
    "DICT": lambda m, _: m.stack.append(_items(m)),
    "FROZENSET": lambda m, _: m.stack.append(m.inert(m.after_mark())),
    "ADDITEMS": lambda m, _: m.after_mark(),
    "APPEND": lambda m, _: m.extend([m.stack.pop()]),
    "APPENDS": lambda m, _: m.extend(m.after_mark()),
    "SETITEM": lambda m, _: m.put(_pair(m)),
    "SETITEMS": lambda m, _: m.put(m.after_mark()),
    "GLOBAL": lambda m, v: m.name(v.replace(" ", ".")),
    "STACK_GLOBAL": lambda m, _: m.name(".".join(_pair(m))),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda m, _: m.stack.append(m.made(*_pair(m)))),
    "BUILD": lambda m, _: m.stack.pop(),
    "BINPERSID": lambda m, _: m.stack.append(m.store(m.stack.pop())),
}
# APPEND and SETITEM evaluate what they pop before they look at the top, as the pickle means it.
