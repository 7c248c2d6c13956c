"""Contrastive pairs: texts that show a behaviour, and texts that do not.

`ContrastivePairs` (`contrastive_pairs`) is the set. Its examples (`example`) come from rows: of a
file (`file_formats`), of Python objects or a JSON document (`documents`), or of a named set
(`named_sets`); `records` says what the columns of a row mean. `splits` divides a set so that what
shares a prompt or a group stays together.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.data.contrastive_pairs import ContrastivePairs as ContrastivePairs
from lens_steer.data.contrastive_pairs import as_pairs as as_pairs
from lens_steer.data.example import Example as Example
from lens_steer.data.example import as_records as as_records
from lens_steer.data.named_sets import behaviour_words as behaviour_words

_check_room(globals())
