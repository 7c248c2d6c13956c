"""Whether the fields of a dataclass made from a file hold what their annotations say."""

from dataclasses import fields
from functools import partial
from typing import Any, get_type_hints

from jaxtyping import jaxtyped
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type


def check_field_types(made: Any) -> None:
    """Raise a TypeError if a field holds what its annotation does not allow; the field is named.

    Axes of one name have one size. Fields of fields are not looked into.

    Args:
        made: A dataclass.

    Example:
        >>> check_field_types(ls.Interval(0.5, 0.4, 0.6))
    """
    hints = get_type_hints(type(made))
    with jaxtyped("context"):  # one name of an axis is one size
        for field in fields(made):
            check_type(
                getattr(made, field.name),
                hints[field.name],
                typecheck_fail_callback=partial(_wrong_type, field.name),
                collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS,
            )


def _wrong_type(name: str, error: TypeCheckError, memo: Any) -> None:
    del memo
    raise TypeError(f"{name}: {error}") from error
