"""What HDF5 formats share: data sets that lie in this very file, of a size that the file can back up."""

from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io import _buffer
from hilum.io._guard import MOST_BYTES

LOOSEST = 200
# A data set that claims more than this for each byte stored was never measured (noise shrinks by little).
FREE = 1 << 20
# Claims up to so many bytes do no harm, whatever is stored.


def member(file: Any, name: str) -> Any:
    """The object at `name` ("dataset/xml"), or None where there is none; a link is refused, never followed."""
    import h5py

    here = file
    for step in name.split("/"):
        if not isinstance(here, h5py.Group) or not here.id.links.exists(step.encode()):
            return None
        if here.id.links.get_info(step.encode()).type != h5py.h5l.TYPE_HARD:
            raise HilumError("HIL-IO-08", f"`{name}` is a link, which is not followed", "Copy the data into the file")
        here = here[step]
    return here


def dataset(file: Any, name: str) -> Any:
    """The data set at `name`, or None where there is none.

    Refused (HIL-IO-08): a link, a group, data that lie in other files, a claimed size that the file does not hold.
    """
    import h5py

    data = member(file, name)
    if data is None:
        return None
    if not isinstance(data, h5py.Dataset) or data.shape is None:
        raise HilumError("HIL-IO-08", f"`{name}` holds no values", "Export it again")
    if data.external or data.is_virtual:
        raise HilumError("HIL-IO-08", f"The values of `{name}` lie in another file", "Copy the data into the file")
    stored, whole = int(data.id.get_storage_size()), int(file.id.get_filesize())
    # a chunk is decoded whole, also where it is larger than the data set
    claimed = max(data.size, int(np.prod(data.chunks or (0,), dtype=object))) * data.dtype.itemsize
    if claimed > MOST_BYTES or stored > whole or (claimed > FREE and claimed > LOOSEST * stored):
        raise HilumError(
            "HIL-IO-08",
            f"`{name}` {data.shape} claims {claimed} bytes, {stored} are stored in a file of {whole}",
            "Export it again; nothing was read",
        )
    return data


def load(data: Any, index: int | None, dtype: Any) -> Array:
    """All values, or those of one index along the first axis, decoded in place."""
    out = _buffer.empty(data.shape if index is None else data.shape[1:], dtype)
    if out.size:
        data.read_direct(out, source_sel=np.s_[...] if index is None else np.s_[index])
    return out


def finite(array: Array, what: str) -> None:
    """Refuse NaN and infinity (HIL-N09), looking at one part after the other."""
    for part in array:
        if not np.isfinite(part).all():
            raise HilumError("HIL-N09", f"{what} has NaN or infinite values", "Export it again")
