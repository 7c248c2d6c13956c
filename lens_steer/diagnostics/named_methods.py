"""Methods by the names they have in tables and figures."""

from collections.abc import Mapping, Sequence

from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import check_applicable
from lens_steer.models import SteerableModel
from lens_steer.steering import Intervention


def check_named(
    methods: Mapping[str, Intervention], pairs: ContrastivePairs, model: SteerableModel
) -> dict[str, Intervention]:
    """The methods in their order, once each has been found to fit the model.

    Raises:
        ValueError: If there is no method, a value is not a method or has no name, or a method does
            not fit the model.
    """
    if not isinstance(methods, Mapping) or not methods:
        raise ValueError(f"got {methods!r}, expected a name for each method: {{'CAA': method}}")
    for name, method in methods.items():
        if not isinstance(name, str) or not name.strip() or not isinstance(method, Intervention):
            raise ValueError(f"got {name!r}: {method!r}, expected a name and a steering method")
        check_applicable(method, pairs, model)
    return dict(methods)


def row_of(name: str, names: Sequence[str]) -> int:
    """The row of a method in a report.

    Raises:
        ValueError: If the report has no such method.
    """
    if name not in names:
        raise ValueError(f"no method {name!r} in this report: expected one of {tuple(names)}")
    return names.index(name)
