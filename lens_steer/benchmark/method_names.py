"""The names of what is compared: of methods, and of the references beside them."""

from collections.abc import Iterable, Mapping, Sequence

from lens_steer.benchmark.config import REFERENCES
from lens_steer.steering import Intervention

Fits = Intervention | Sequence[Intervention]
NamedMethods = Sequence[Intervention] | Mapping[str, Fits]


def references_first(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, references first."""
    ordered = list(names)
    return tuple(dict.fromkeys([*(name for name in REFERENCES if name in ordered), *ordered]))


def methods_by_name(methods: NamedMethods) -> dict[str, tuple[Intervention, ...]]:
    """Fits by name; methods without a name are called by their class, and numbered if alike.

    Raises:
        ValueError: If there are none, or a name is that of a reference.
    """
    if isinstance(methods, Intervention):
        raise ValueError(f"got one method {methods!r}, expected a list of them: write [method]")
    by_name: dict[str, tuple[Intervention, ...]] = {}
    if isinstance(methods, Mapping):
        for name, fits in methods.items():
            by_name[name] = (fits,) if isinstance(fits, Intervention) else tuple(fits)
    else:
        kinds = [type(method).__name__ for method in methods]
        for i, (kind, method) in enumerate(zip(kinds, methods, strict=True)):
            before = kinds[:i].count(kind)
            by_name[f"{kind} {before + 1}" if before else kind] = (method,)
    if not by_name or not all(by_name.values()):
        raise ValueError(f"got the methods {methods!r}, expected at least one, none without a fit")
    reserved = sorted(set(by_name) & set(REFERENCES))
    if reserved:
        raise ValueError(f"the names {reserved} are those of references: give the methods others")
    return by_name
