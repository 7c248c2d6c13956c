"""What public functions accept, and the one form of error for what they do not.

`check_room` holds all that a room exports to its annotations at every call; `Seed`, `Layer`,
`Texts` and the others are annotations with a range. A wrong argument raises an `ArgumentError`:
what came, what is expected, what to write.
"""

from lens_steer.arguments.checking import ArgumentError as ArgumentError
from lens_steer.arguments.checking import check_room as check_room
from lens_steer.arguments.checking import checked as checked
from lens_steer.arguments.hints import Accepts as Accepts
from lens_steer.arguments.hints import Expected as Expected
from lens_steer.arguments.hints import admits as admits
from lens_steer.arguments.parsing import OneLineParser as OneLineParser
from lens_steer.arguments.parsing import is_list as is_list
from lens_steer.arguments.parsing import parsed as parsed
from lens_steer.arguments.parsing import refused as refused
from lens_steer.arguments.value_types import Angle as Angle
from lens_steer.arguments.value_types import Count as Count
from lens_steer.arguments.value_types import CountFromZero as CountFromZero
from lens_steer.arguments.value_types import FilePath as FilePath
from lens_steer.arguments.value_types import FolderPath as FolderPath
from lens_steer.arguments.value_types import Layer as Layer
from lens_steer.arguments.value_types import Layers as Layers
from lens_steer.arguments.value_types import Nats as Nats
from lens_steer.arguments.value_types import NonNegative as NonNegative
from lens_steer.arguments.value_types import NotBlank as NotBlank
from lens_steer.arguments.value_types import Number as Number
from lens_steer.arguments.value_types import Positive as Positive
from lens_steer.arguments.value_types import Rising as Rising
from lens_steer.arguments.value_types import Seed as Seed
from lens_steer.arguments.value_types import Share as Share
from lens_steer.arguments.value_types import Temperature as Temperature
from lens_steer.arguments.value_types import Text as Text
from lens_steer.arguments.value_types import Texts as Texts
from lens_steer.arguments.words import shortened as shortened
