"""Contrastive pairs: examples, file formats, named sets and splits."""

from lens_steer.data.contrastive_pairs import ContrastivePairs as ContrastivePairs
from lens_steer.data.contrastive_pairs import as_pairs as as_pairs
from lens_steer.data.example import Example as Example
from lens_steer.data.example import rows_of as rows_of
from lens_steer.data.named_sets import words_of as words_of
