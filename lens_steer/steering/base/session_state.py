"""What a steered block knows of the current batch, as a value."""

from dataclasses import dataclass, replace

from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.models import SteerableModel
from lens_steer.sites import Site
from lens_steer.steering.base.intervention import Edit, Intervention
from lens_steer.steering.base.pass_positions import PassPositions, Prompts


@dataclass(frozen=True, eq=False)
class SessionState:
    """What a steered block knows at one moment, in one thread or task.

    Attributes:
        methods: Each made ready for the prompts of the current batch.
        edits: The edits of each method, by site.
        rows: Which rows of the batch are steered; None is all.
        prompts: Where the prompts of the batch end; None before the first pass of a generation.
        positions: Which positions of the current forward pass are steered.
        embedded: Tokens that were embedded since the last pass began.
        generating: Whether later passes continue the first one.
        prompt_alone: Whether the first pass of the generation holds the prompts and nothing else.
        suspended: Whether the model runs unsteered.
    """

    methods: tuple[Intervention, ...]
    edits: tuple[dict[Site, Edit], ...]
    rows: Bool[Tensor, " batch"] | None
    prompts: Prompts | None = None
    positions: PassPositions | None = None
    embedded: Tensor | None = None
    generating: bool = False
    prompt_alone: bool = True
    suspended: bool = False

    def steered_numbers(self, rows: Int[Tensor, " row"]) -> Int[Tensor, " steered"]:
        """Numbers of rows among the steered rows of the batch; rows not steered are left out."""
        if self.rows is None:
            return rows
        steered = self.rows.to(rows.device)
        return (steered.cumsum(dim=0) - 1)[rows][steered[rows]]

    def only_rows(self, model: SteerableModel, kept: Int[Tensor, " kept"]) -> "SessionState":
        """The state when only some rows of the batch are left."""
        numbers = self.steered_numbers(kept)
        methods = tuple(method.select_prompts(numbers) for method in self.methods)
        edits = tuple(
            method.checked_edits(model) if method.per_prompt else before
            for method, before in zip(methods, self.edits, strict=True)
        )
        return replace(
            self,
            methods=methods,
            edits=edits,
            rows=None if self.rows is None else self.rows[kept.to(self.rows.device)],
            prompts=None if self.prompts is None else self.prompts.of_rows(kept),
        )

    def at(self, model: SteerableModel, positions: PassPositions) -> "SessionState":
        """The state in a forward pass that is steered at these positions.

        The edits of methods that act on the last prompt token alone are made for the prompts that
        end in this pass.
        """
        edits = list(self.edits)
        for i, method in enumerate(self.methods):
            if method.last_prompt_token_only:
                ending = method.select_prompts(self.steered_numbers(positions.ending_rows))
                edits[i] = ending.checked_edits(model)
        return replace(self, edits=tuple(edits), positions=positions)
