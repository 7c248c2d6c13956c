"""What the matrix takes for right: the model as Hugging Face runs it, without TransformerLens.

Blocks are found by their number, and read and edited with PyTorch's own hooks.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Edit = Callable[[Float[Tensor, "batch pos d"]], Float[Tensor, "batch pos d"]]


@dataclass(frozen=True, eq=False)
class PlainModel:
    """A model of Hugging Face's, with its blocks.

    Attributes:
        model: The model.
        blocks: Its layers, in order.
    """

    model: Any
    blocks: tuple[nn.Module, ...]

    @classmethod
    def load(cls, folder: Path, task: str, dtype: torch.dtype) -> "PlainModel":
        """Load a model from a folder, as a user of transformers would.

        Below float32 it runs the plain attention that TransformerLens runs too. Transformers' own
        kinds of attention differ by rounding there, which can make a mixture choose other experts.

        Raises:
            ValueError: If no list of modules is as long as the model has layers.
        """
        import transformers

        auto: Any = getattr(transformers, f"AutoModelFor{task}")
        how = {} if dtype is torch.float32 else {"attn_implementation": "eager"}
        model = auto.from_pretrained(folder, dtype=dtype, **how).eval()
        count = model.config.num_hidden_layers
        for module in model.modules():
            if isinstance(module, nn.ModuleList) and len(module) == count:
                return cls(model, tuple(module))
        raise ValueError(f"{type(model).__name__} has no list of {count} modules: its blocks?")

    def logits(
        self, tokens: Int[Tensor, "batch pos"], edits: dict[int, Edit] | None = None
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of rows without padding, without a cache.

        Args:
            tokens: The rows.
            edits: By layer, what becomes of the block's output.
        """
        with ExitStack() as stack, torch.no_grad():
            for layer, edit in (edits or {}).items():
                stack.callback(self.blocks[layer].register_forward_hook(_edited_by(edit)).remove)
            return self.model(input_ids=tokens, use_cache=False).logits

    def residuals(self, tokens: Int[Tensor, "1 pos"]) -> Float[Tensor, "layer d"]:
        """What every block puts out at the last token of one row, float32."""
        outputs: list[Tensor] = []
        with ExitStack() as stack, torch.no_grad():
            for block in self.blocks:
                hook = block.register_forward_hook(lambda _m, _a, out: outputs.append(_first(out)))
                stack.callback(hook.remove)
            self.model(input_ids=tokens, use_cache=False)
        return torch.stack([output[0, -1].float() for output in outputs])

    def linear_inputs(self, tokens: Int[Tensor, "1 pos"], layer: int) -> list[Float[Tensor, " _"]]:
        """What every matrix in a block is multiplied with at the last token of one row, float32."""
        inputs: list[Tensor] = []

        def keep(_module: Any, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], Tensor) and args[0].ndim == 3:
                inputs.append(args[0][0, -1].float())

        with ExitStack() as stack, torch.no_grad():
            for module in self.blocks[layer].modules():
                weight = getattr(module, "weight", None)
                if isinstance(weight, Tensor) and weight.ndim == 2:
                    stack.callback(module.register_forward_pre_hook(keep).remove)
            self.model(input_ids=tokens, use_cache=False)
        return inputs

    def vjp(
        self, tokens: Int[Tensor, "1 pos"], layer: int, cotangent: Float[Tensor, " d"]
    ) -> Float[Tensor, " d"]:
        """The gradient of a block's output at the last token, along a cotangent, float32.

        It is taken by its input at the last token alone: earlier keys and values do not vary.
        """
        pushes: list[Tensor] = []
        outputs: list[Tensor] = []

        def push(_module: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
            x = args[0] if args else options["hidden_states"]
            pushes.append(torch.zeros_like(x[0, -1]).requires_grad_())
            moved = torch.cat([x[:, :-1], x[:, -1:] + pushes[0]], dim=1)
            if args:
                return (moved, *args[1:]), options
            return args, {**options, "hidden_states": moved}

        def keep(_module: Any, _args: Any, out: Any) -> None:
            outputs.append(_first(out)[0, -1])

        block = self.blocks[layer]
        with ExitStack() as stack, torch.enable_grad():
            stack.callback(block.register_forward_pre_hook(push, with_kwargs=True).remove)
            stack.callback(block.register_forward_hook(keep).remove)
            self.model(input_ids=tokens, use_cache=False)
            (gradient,) = torch.autograd.grad(outputs[0], pushes[0], cotangent.to(outputs[0]))
        return gradient.float()


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def _edited_by(edit: Edit) -> Callable[[Any, Any, Any], Any]:
    def edited(_module: Any, _args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (edit(output[0]), *output[1:])
        return edit(output)

    return edited
