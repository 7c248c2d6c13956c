"""What a steered block remembers between a forward pass's start and its edits."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Int
from torch import Tensor

from lens_steer.models import SteerableModel
from lens_steer.sites import Site
from lens_steer.steering.base._intervention import Edit, Intervention, apply_everywhere
from lens_steer.steering.base._scope import Scope, absolute_positions, steered_positions
from lens_steer.steering.base._watch import Pass
from lens_steer.tokens import bos_id


class Session:
    """Decides for each forward pass which of its positions are edited, and edits them."""

    def __init__(
        self,
        model: SteerableModel,
        methods: Sequence[Intervention],
        scope: Scope,
        prompt_lengths: Sequence[int] | Int[Tensor, " batch"] | None,
    ) -> None:
        self._model = model
        self._scope: Scope = scope
        self._methods = methods
        self._edits: list[dict[Site, Edit]] = [method.active_edits(model) for method in methods]
        self._lengths = _checked(prompt_lengths)
        self._bos = bos_id(model) if model.tokenizer is not None else None
        self._generating = False
        self._prompts: Tensor | None = None  # lengths seen at the start of the model's own generate
        self._suspended = False
        self._where: tuple[Tensor, Tensor] | None = None
        self._everywhere = False

    def hooks(self) -> list[dict[Site, Callable[[Tensor], Tensor | None]]]:
        """Per method, what to hook at each site."""
        return [
            {site: self._hook(method, site) for site in edits}
            for method, edits in enumerate(self._edits)
        ]

    def _hook(self, method: int, site: Site) -> Callable[[Tensor], Tensor | None]:
        def fn(x: Tensor) -> Tensor | None:
            edit = self._edits[method][site]
            if self._everywhere:
                return apply_everywhere(edit, x)
            if self._where is None:
                return None
            rows, columns = (index.to(x.device) for index in self._where)
            steered = x.clone()
            steered[rows, columns] = edit(x[rows, columns]).to(x.dtype)
            return steered

        return fn

    @contextmanager
    def generation(self) -> Iterator[None]:
        """While it lasts, the first forward pass is the prompt, and the later ones continue it."""
        before = self._generating, self._prompts
        self._generating, self._prompts = True, None
        try:
            yield
        finally:
            self._generating, self._prompts = before

    def observe(self, seen: Pass) -> None:
        """Take note of a forward pass that is about to start."""
        if self._suspended:
            return
        positions = absolute_positions(seen.real, seen.chunk)
        lengths = self._prompt_lengths(seen)
        chosen = steered_positions(
            self._scope, positions, lengths, self._starts_with_bos(seen, positions)
        )
        self._everywhere = bool(chosen.all())
        where = chosen.nonzero(as_tuple=True)
        self._where = (where[0], where[1]) if len(where[0]) else None
        self._prepare(seen, positions < lengths[:, None])

    def _prompt_lengths(self, seen: Pass) -> Int[Tensor, " batch"]:
        batch = seen.real.shape[0]
        if self._lengths is not None:
            if len(self._lengths) != batch:
                raise ValueError(
                    f"{len(self._lengths)} prompt_lengths for a batch of {batch}: expected one per "
                    "row"
                )
            return self._lengths.to(seen.real.device)
        if self._generating:
            if self._prompts is None:
                self._prompts = seen.real.sum(dim=1)
            return self._prompts
        past = seen.real[:, : -seen.chunk] if seen.real.shape[1] > seen.chunk else seen.real
        return past.sum(dim=1)

    def _starts_with_bos(self, seen: Pass, positions: Int[Tensor, "batch chunk"]) -> Tensor:
        if self._bos is None or seen.tokens is None:
            return torch.full((len(positions),), self._bos is not None, device=positions.device)
        return ((positions == 0) & (seen.tokens == self._bos)).any(dim=1)

    def _prepare(self, seen: Pass, of_prompt: Tensor) -> None:
        prepared = [type(method).prepare is not Intervention.prepare for method in self._methods]
        if seen.tokens is None or seen.real.shape[1] > seen.chunk or not any(prepared):
            return
        self._suspended, everywhere, where = True, self._everywhere, self._where
        self._everywhere, self._where = False, None
        try:
            for i, method in enumerate(self._methods):
                if prepared[i] and method.strength != 0:
                    ready = method.prepare(self._model, seen.tokens, seen.real & of_prompt)
                    self._edits[i] = ready.active_edits(self._model)
        finally:
            self._suspended, self._everywhere, self._where = False, everywhere, where


def _checked(lengths: Sequence[int] | Tensor | None) -> Tensor | None:
    if lengths is None:
        return None
    given = torch.as_tensor(lengths)
    if given.ndim != 1 or given.dtype.is_floating_point or bool((given < 0).any()):
        raise ValueError(f"prompt_lengths {lengths!r}: expected one number of tokens per row")
    return given.long()
