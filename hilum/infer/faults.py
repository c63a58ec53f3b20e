"""What goes wrong with one of many cases, so that the others go on."""

import errno
import logging

from hilum.core.errors import HilumError
from hilum.core.image import Case

log = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
# What the system says where no result can be written any more: then further cases would be computed in vain.
FAULTS = {"HIL-INFER-12", "HIL-INFER-13", "HIL-INFER-14", "HIL-INFER-15", "HIL-INFER-22"}
# Of a runtime or of its device: they say nothing of the model or the case.


def fault(error: Exception, case: Case) -> HilumError:
    """An error as what one case costs. Raised again: what would cost every further case too."""
    if isinstance(error, HilumError):
        # anew: the frames of the one that was raised hold the case as it was read and prepared
        return HilumError(error.code, error.seen, error.remedy)
    if isinstance(error, OSError) and error.errno in FULL:
        raise error
    log.info("%s", case.id, exc_info=error)
    words = " ".join(str(error).split())[:300]
    return HilumError(
        "HIL-INFER-18", f"{case.id} ended in an error that is none of Hilum's own ({type(error).__name__}: {words})",
        "If memory ran out, crop the image or end other programs; else report it as a bug",
    )  # fmt: skip
