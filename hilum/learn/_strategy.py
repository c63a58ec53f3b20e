"""How several processes train one network; apart from `_device` because it must be importable by name in each of them.

Imported only when a run is shared: it loads Lightning Fabric.
"""

import logging
from typing import Any

from lightning_fabric.strategies import DDPStrategy

# it announces every process
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


class Averaged(DDPStrategy):
    """Networks as they are: gradients are averaged in the loop's update.

    Torch's wrapper wants every weight to take part in every loss, which neither deep supervision nor a critic with a
    gradient penalty does.
    """

    def setup_module(self, module: Any) -> Any:
        """The module itself."""
        return module
