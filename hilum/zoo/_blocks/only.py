"""A network that its paper has for one number of spatial axes is not built for another."""

from hilum.core.errors import HilumError
from hilum.zoo._blocks.dims import Layers, layers


def only(spatial_dims: int, wanted: int) -> Layers:
    """The layer classes for `wanted` spatial axes; refused where `spatial_dims` is another number."""
    if spatial_dims != wanted:
        raise HilumError("HIL-ZOO-01", f"spatial_dims is {spatial_dims!r}", f"Use {wanted}: there is no other form")
    return layers(wanted)
