"""Used by mkdocstrings: a docstring's `Example:` is shown as code, as `Examples:` is by itself."""

import re
from typing import Any

import griffe

_HEADING = re.compile(r"^Example:$", flags=re.MULTILINE)


class DocstringExamples(griffe.Extension):
    """Writes the heading as griffe knows it."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Do so in the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = _HEADING.sub("Examples:", obj.docstring.value)
