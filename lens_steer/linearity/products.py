"""Products of a Jacobian with vectors, without the Jacobian."""

from collections.abc import Callable

import torch
from torch import Tensor

Products = Callable[[Tensor], Tensor]


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
    return pushing_forward(function, x)(tangents)


def pushing_forward(function: Callable[[Tensor], Tensor], x: Tensor) -> Products:
    """`forward_products` with any number of tangents at a time, the function being run once.

    Args:
        function: Differentiable twice.
        x: Where J is taken.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = function(x)
        v = torch.zeros_like(y, requires_grad=True)
        (pulled,) = torch.autograd.grad(y, x, v, create_graph=True)
    return pulling_back(pulled, v)


def pulling_back(y: Tensor, x: Tensor) -> Products:
    """J' c for each of several cotangents c, J being the Jacobian of y by x.

    `torch.vmap` has rules for all derivatives that blocks are made of; `is_grads_batched` of
    `torch.autograd.grad` takes those of a softmax or of SiLU one cotangent after the other.

    Args:
        y: Computed from x.
        x: Requires gradients.

    Returns:
        A function of cotangents, each of the shape of y, stacked along a first axis.

    Example:
        >>> x = torch.ones(3, requires_grad=True)
        >>> pulling_back(x.square(), x)(torch.eye(3))
    """

    def product(c: Tensor) -> Tensor:
        return torch.autograd.grad(y, x, c, retain_graph=True)[0]

    def products(cotangents: Tensor) -> Tensor:
        return torch.vmap(product)(cotangents.to(y))

    return products
