"""What a steered block remembers between a forward pass's start and its edits."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.models import SteerableModel, attach
from lens_steer.sites import Site
from lens_steer.steering.base._intervention import Edit, Intervention, apply_everywhere
from lens_steer.steering.base._scope import Scope, absolute_positions, steered_positions
from lens_steer.steering.base._watch import Pass
from lens_steer.tokens import bos_id

_SPECIAL = ("prompt_end_only", "by_prompt")


class Session:
    """Decides for each forward pass which of its positions are edited, and edits them."""

    def __init__(
        self,
        model: SteerableModel,
        methods: Sequence[Intervention],
        scope: Scope,
        prompt_lengths: Sequence[int] | Int[Tensor, " batch"] | None,
        rows: Sequence[bool] | Bool[Tensor, " batch"] | None = None,
    ) -> None:
        self._model, self._methods = model, methods
        self._scope: Scope = scope
        self._ready: list[Intervention] = list(methods)  # for the prompts at hand
        self._edits: list[dict[Site, Edit]] = [method.active_edits(model) for method in methods]
        self._lengths = _checked(prompt_lengths)
        self._rows = None if rows is None else torch.as_tensor(rows, dtype=torch.bool)
        self._bos = bos_id(model) if model.tokenizer is not None else None
        self._embedded: Tensor | None = None
        self._generating = False
        self._first: tuple[Tensor, Tensor] | None = None  # lengths and BOS flags of its first pass
        self._suspended = False
        self._where: tuple[Tensor, Tensor] | None = None
        self._ends: tuple[Tensor, Tensor] | None = None  # those that end a prompt
        self._everywhere = False

    def hooks(self) -> list[dict[Site, Callable[[Tensor], Tensor | None]]]:
        """Per method, what to hook at each site."""
        return [
            {site: self._hook(method, site) for site in edits}
            for method, edits in enumerate(self._edits)
        ]

    def _hook(self, method: int, site: Site) -> Callable[[Tensor], Tensor | None]:
        once, by_prompt = (getattr(self._methods[method], n) for n in _SPECIAL)

        def fn(x: Tensor) -> Tensor | None:
            edit = self._edits[method].get(site)
            where = self._ends if once else self._where
            if edit is None or where is None:
                return None
            if self._everywhere and not once and not by_prompt:
                return apply_everywhere(edit, x)
            rows, columns = (index.to(x.device) for index in where)
            came = x[rows, columns]
            left = edit(came, self._numbered(rows)) if by_prompt else edit(came)
            if left is came:  # it only looks
                return None
            steered = x.clone()
            steered[rows, columns] = left.to(x.dtype)
            return steered

        return fn

    @contextmanager
    def generation(self) -> Iterator[None]:
        """While it lasts, the first forward pass is the prompt, and the later ones continue it."""
        before = self._generating, self._first, self._rows
        self._generating, self._first = True, None
        try:
            yield
        finally:
            self._generating, self._first, self._rows = before

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """From here to the generation's end the batch has only these of its rows."""
        if self._first is not None:
            lengths, bos = self._first
            self._first = lengths[rows], bos[rows]
        self._ready = [method.of_rows(self._numbered(rows)) for method in self._ready]
        for i, method in enumerate(self._ready):
            if method.by_prompt:
                self._edits[i] = method.active_edits(self._model)
        if self._rows is not None:
            self._rows = self._rows[rows.to(self._rows.device)]

    @property
    def active(self) -> bool:
        """Whether it is not suspended."""
        return not self._suspended

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """While it lasts, nothing is observed or edited."""
        before = self._suspended, self._where, self._ends
        self._suspended, self._where, self._ends = True, None, None
        try:
            yield
        finally:
            self._suspended, self._where, self._ends = before

    def remember(self, tokens: Int[Tensor, "batch chunk"]) -> None:
        """Take note of tokens that are about to be embedded."""
        if not self._suspended:
            self._embedded = tokens

    def observe(self, seen: Pass) -> None:
        """Take note of a forward pass that is about to start."""
        if self._suspended:
            return
        tokens, self._embedded = self._embedded if seen.tokens is None else seen.tokens, None
        if tokens is not None and tokens.shape[1] != seen.chunk:
            tokens = None  # HookedTransformer's own loop embeds one token and grows the residual
        starts = self._generating and self._first is None
        positions = absolute_positions(seen.real, seen.chunk)
        if starts or not self._generating:
            self._first = self._prompts(seen), self._starts_with_bos(tokens, positions)
        assert self._first is not None  # set by the first pass of a generation
        lengths, bos = self._first
        chosen = steered_positions(self._scope, positions, lengths, bos)
        if self._rows is not None:
            chosen &= self._of_rows(chosen)
        uncached = seen.real.shape[1] == seen.chunk
        if tokens is not None and uncached and (starts or not self._generating):
            given = seen.real & (positions < lengths[:, None])
            if self._rows is not None:
                kept = self._rows.to(tokens.device)
                tokens, given = tokens[kept], given[kept]
            if len(tokens):
                self._prepare(tokens, given)
        self._aim(chosen, positions == lengths[:, None] - 1)

    def _aim(self, chosen: Bool[Tensor, "batch chunk"], ends: Bool[Tensor, "batch chunk"]) -> None:
        """Take these positions; methods that edit a prompt's end alone, those that end one."""
        self._where, self._everywhere = _indices(chosen), bool(chosen.all())
        self._ends = None
        for i, method in enumerate(self._ready):
            if method.prompt_end_only:
                self._ends = _indices(chosen & ends)
                rows = (chosen & ends).any(dim=1).nonzero()[:, 0]
                self._edits[i] = method.of_rows(self._numbered(rows)).active_edits(self._model)

    def _numbered(self, rows: Int[Tensor, " row"]) -> Int[Tensor, " steered"]:
        """Rows of the batch as rows of what is steered in it; the others are left out."""
        if self._rows is None:
            return rows
        own = self._rows.to(rows.device)
        return (own.cumsum(dim=0) - 1)[rows][own[rows]]

    def _of_rows(self, chosen: Bool[Tensor, "batch chunk"]) -> Bool[Tensor, "batch 1"]:
        assert self._rows is not None  # asked only then
        if len(self._rows) != len(chosen):
            given = len(self._rows)
            raise ValueError(f"{given} rows for a batch of {len(chosen)}: expected one flag each")
        return self._rows.to(chosen.device)[:, None]

    def _prompts(self, seen: Pass) -> Int[Tensor, " batch"]:
        batch = seen.real.shape[0]
        if self._lengths is not None:
            if len(self._lengths) != batch:
                given = len(self._lengths)
                raise ValueError(
                    f"{given} prompt_lengths for a batch of {batch}: expected one each"
                )
            return self._lengths.to(seen.real.device)
        cached = seen.real.shape[1] > seen.chunk
        of_prompt = seen.real[:, : -seen.chunk] if cached and not self._generating else seen.real
        return of_prompt.sum(dim=1)

    def _starts_with_bos(
        self, tokens: Tensor | None, positions: Int[Tensor, "batch chunk"]
    ) -> Bool[Tensor, " batch"]:
        if self._bos is None or tokens is None:  # no tokens: a model that has a BOS is given it
            return torch.full((len(positions),), self._bos is not None, device=positions.device)
        return ((positions == 0) & (tokens == self._bos)).any(dim=1)

    def _prepare(
        self, tokens: Int[Tensor, "batch chunk"], mask: Bool[Tensor, "batch chunk"]
    ) -> None:
        wanted = [
            i
            for i, method in enumerate(self._methods)
            if type(method).prepare is not Intervention.prepare and method.strength != 0
        ]
        if not wanted:
            return
        with ExitStack() as clean:
            for session in attach(self._model).sessions:
                clean.enter_context(session.suspended())
            for i in wanted:
                self._ready[i] = self._methods[i].prepare(self._model, tokens, mask)
                self._edits[i] = self._ready[i].active_edits(self._model)


def _indices(chosen: Bool[Tensor, "batch chunk"]) -> tuple[Tensor, Tensor] | None:
    rows, columns = chosen.nonzero(as_tuple=True)
    return (rows, columns) if len(rows) else None


def _checked(lengths: Sequence[int] | Tensor | None) -> Tensor | None:
    if lengths is None:
        return None
    given = torch.as_tensor(lengths)
    if given.ndim != 1 or given.dtype.is_floating_point or bool((given < 0).any()):
        raise ValueError(f"prompt_lengths {lengths!r}: expected one number of tokens per row")
    return given.long()
