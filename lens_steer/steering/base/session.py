"""One steered block: how what it knows changes with each forward pass, and what its hooks do."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.models import PlacedHooks, SteerableModel, bos_id, hooks_at_rest, unsteered
from lens_steer.sites import Site, hook_points
from lens_steer.steering.base.forward_passes import ForwardPass, watch
from lens_steer.steering.base.intervention import Intervention, apply_everywhere, check_edited
from lens_steer.steering.base.pass_positions import (
    PassPositions,
    Prompts,
    check_lengths,
    check_scope_within,
)
from lens_steer.steering.base.scope import Scope, leaves_out_sinks
from lens_steer.steering.base.session_state import SessionState

# Threads and tasks that run under one block at the same time each have a state of their own.
_states: ContextVar[Mapping["Session", SessionState]] = ContextVar("lens_steer_states", default={})  # noqa: B039


class Session:
    """A steered block. The object itself never changes; its `SessionState` does."""

    def __init__(
        self,
        model: SteerableModel,
        methods: Sequence[Intervention],
        scope: Scope,
        prompt_lengths: Sequence[int] | Int[Tensor, " batch"] | None,
        rows: Sequence[bool] | Bool[Tensor, " batch"] | None = None,
    ) -> None:
        self.model, self.methods = model, tuple(methods)
        self._scope: Scope = scope
        self._lengths = _token_counts(prompt_lengths)
        self._bos = bos_id(model) if model.tokenizer is not None else None
        self._hooks: PlacedHooks | None = None
        edits = tuple(method.checked_edits(model) for method in methods)
        flags = None if rows is None else torch.as_tensor(rows, dtype=torch.bool)
        self._initial = SessionState(self.methods, edits, flags)

    @property
    def _state(self) -> SessionState:
        return _states.get().get(self, self._initial)

    @_state.setter
    def _state(self, state: SessionState) -> None:
        _states.set({**_states.get(), self: state})

    # ---- while it is open ----

    def place(self, hooks: PlacedHooks) -> None:
        """Place the hooks: the edits of each method in turn, and one that sees a pass begin."""
        for number, edits in enumerate(self._initial.edits):
            points = hook_points(self.model, edits)
            for site in edits:
                hooks.at_point(points[site], partial(self._edited, number, site))
        watch(self.model, hooks, self.observe, self.remember)
        self._hooks = hooks

    def close(self) -> None:
        """End the block, in every thread and task."""
        self._hooks = None
        _states.set({s: state for s, state in _states.get().items() if s is not self})

    @property
    def closed(self) -> bool:
        """Whether the block has ended."""
        return self._hooks is None

    @property
    def active(self) -> bool:
        """Whether the block steers now."""
        return not self._state.suspended

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """While it lasts, nothing is observed or edited."""
        before = self._state
        self._state = replace(before, suspended=True, positions=None)
        try:
            yield
        finally:
            self._state = before

    def begin_generation(self, *, prompt_alone: bool = True) -> None:
        """Take the next forward pass for the prompt, and later passes for what continues it.

        Args:
            prompt_alone: False where that pass may be a part of the prompt, or more than it.

        Raises:
            ValueError: If so, and the user has not given `prompt_lengths`.
        """
        if not prompt_alone and self._lengths is None:
            raise ValueError(
                "generate reads the prompt in parts, or together with a draft of what follows it, "
                "so that its end cannot be seen: give steered(..., prompt_lengths=[...]), the "
                "tokens of each prompt"
            )
        state = self._state
        self._state = replace(state, generating=True, prompt_alone=prompt_alone, prompts=None)

    @contextmanager
    def generation(self, *, prompt_alone: bool = True) -> Iterator[None]:
        """Take the first forward pass inside for the prompt; see `begin_generation`."""
        before = self._state
        self.begin_generation(prompt_alone=prompt_alone)
        try:
            yield
        finally:
            self._state = before

    def select_rows(self, rows: Int[Tensor, " selected"]) -> None:
        """Take the batch to have only these rows, until the generation ends."""
        self._state = self._state.only_rows(self.model, rows)

    # ---- a forward pass ----

    def remember(self, tokens: Int[Tensor, "batch chunk"]) -> None:
        """Note the tokens that are about to be embedded."""
        state = self._state
        if not state.suspended:
            self._state = replace(state, embedded=tokens)

    def observe(self, seen: ForwardPass) -> None:
        """Note a forward pass that is about to start, and which positions of it are steered."""
        state = self._state
        if state.suspended:
            return
        assert self._hooks is not None  # an open block's hooks call this
        self._hooks.check_present()
        seen = _with_tokens(seen, state.embedded)
        begins = state.prompts is None or not state.generating
        if begins:
            prompts = Prompts.of(seen, self._lengths, self._bos, state.generating)
            if state.prompt_alone if state.generating else not seen.has_cache:
                check_lengths(seen, self._lengths)
            if not state.generating and not seen.has_cache:
                check_scope_within(seen, self._scope)
            if leaves_out_sinks(self._scope) and any(state.edits):
                prompts = prompts.with_sinks(self.model, seen, state.rows)
        else:
            assert state.prompts is not None  # `begins` says so
            prompts = state.prompts
        positions = PassPositions.of(seen, self._scope, prompts, state.rows)
        state = replace(state, prompts=prompts, embedded=None)
        if begins and seen.tokens is not None and not seen.continues:
            state = self._made_ready(state, seen.tokens, positions.prompt)
        self._state = state.at(self.model, positions)

    def _edited(self, number: int, site: Site, x: Tensor) -> Tensor | None:
        """The activation at a site after the edit of method `number`; None if nothing changes."""
        at_ends = self.methods[number].last_prompt_token_only
        per_prompt = self.methods[number].per_prompt
        state = self._state
        edit, positions = state.edits[number].get(site), state.positions
        if edit is None or positions is None:
            return None
        if positions.everywhere and not at_ends and not per_prompt:
            return apply_everywhere(edit, x)
        where = positions.prompt_ends if at_ends else positions.steered
        if where is None:
            return None
        rows, columns = (index.to(x.device) for index in where)
        before = x[rows, columns]
        after = edit(before, state.steered_numbers(rows)) if per_prompt else edit(before)
        if check_edited(after, before) is before:
            return None
        steered = x.clone()
        steered[rows, columns] = after.to(x.dtype)
        return steered

    def _made_ready(
        self,
        state: SessionState,
        tokens: Int[Tensor, "batch chunk"],
        prompt: Bool[Tensor, "batch chunk"],
    ) -> SessionState:
        """The state with every method made ready for these prompts, on the clean model."""
        if state.rows is not None:
            kept = state.rows.to(tokens.device)
            tokens, prompt = tokens[kept], prompt[kept]
        if len(tokens) == 0 or not any(method.needs_prompt for method in self.methods):
            return state
        methods, edits = list(state.methods), list(state.edits)
        with unsteered(self.model), hooks_at_rest():
            for i, method in enumerate(self.methods):
                if method.needs_prompt and method.strength != 0:
                    methods[i] = method.prepare(self.model, tokens, prompt)
                    edits[i] = methods[i].checked_edits(self.model)
        return replace(state, methods=tuple(methods), edits=tuple(edits))


def _with_tokens(seen: ForwardPass, embedded: Tensor | None) -> ForwardPass:
    """The pass with the tokens that were embedded for it, if they were all embedded at once."""
    if seen.tokens is not None or embedded is None or embedded.shape[1] != seen.chunk:
        return seen  # HookedTransformer's own loop embeds one token and grows the residual
    return replace(seen, tokens=embedded)


def _token_counts(lengths: Sequence[int] | Tensor | None) -> Tensor | None:
    if lengths is None:
        return None
    numbers = torch.as_tensor(lengths)
    if numbers.ndim != 1 or numbers.dtype.is_floating_point or bool((numbers < 0).any()):
        raise ValueError(f"prompt_lengths {lengths!r}: expected one number of tokens per row")
    return numbers.long()
