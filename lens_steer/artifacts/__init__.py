"""Saving and loading of fitted objects, as safetensors files that say where they come from.

`save`, `load` and `describe` are in `storage`; `packing` turns objects into JSON and tensors and
back; `registry` knows the classes that can be saved (`savable`), and `field_types` checks what a
file puts into their fields.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.artifacts.field_types import check_field_types as check_field_types
from lens_steer.artifacts.registry import savable as savable
from lens_steer.artifacts.storage import describe as describe
from lens_steer.artifacts.storage import load as load
from lens_steer.artifacts.storage import save as save

_check_room(globals())
