"""The function `forecast`: derivatives of methods on pairs, as a report."""

from collections.abc import Mapping

import torch
from typing_extensions import Unpack

from lens_steer.activations import capture
from lens_steer.arguments import Count
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts
from lens_steer.forecasting.derivatives import Derivatives
from lens_steer.forecasting.report import Forecast
from lens_steer.models import SteerableModel
from lens_steer.steering import CAA, Decoding, DecodingOptions, Intervention, decoding_of_call

_COARSE = (torch.float16, torch.bfloat16)


def forecast(
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Mapping[str, Intervention] | None = None,
    *,
    cost_prompts: Count = 16,
    progress: bool = True,
    decoding: Decoding | None = None,
    **options: Unpack[DecodingOptions],
) -> Forecast:
    """What each method will do to the pairs at every cost, before a text is steered.

    Derivatives at strength 0, through the real hooks, of each pair's margin and of the cost along a
    few unsteered texts: two small steps of the pairs and about five of the texts for each method.

    Args:
        model: The model, in float32 or float64: in a coarser dtype small steps are lost in
            rounding.
        pairs: Paired examples; better not those that methods were fitted to.
        methods: By name, at any strength but 0. None: CAA at every layer, fitted to one half of
            the pairs (whole groups; mean over tokens) and forecast on the other.
        cost_prompts: Prompts after which unsteered texts are written, at most.
        progress: Whether to show a bar.
        decoding: How these texts are written, and where methods steer; or the same as keywords. The
            seed is 0 if none is given.
        options: As `generate`.

    Raises:
        ValueError: If the pairs are unpaired, a method does not fit the model or has strength 0, no
            method has derivatives (the reasons are named), the dtype is coarse, or as `generate`.
        TypeError: If a keyword is unknown.

    Example:
        >>> ls.forecast(model, pairs)  # where: CAA at every layer
        >>> found = ls.forecast(model, test, {"CAA": caa, "LQR": lqr}, max_new_tokens=20)
        >>> found.table(nats=0.1)
    """
    decoding = decoding_of_call(forecast, decoding, options, seed=0)
    check_fine(model)
    if methods is None:
        methods, pairs = caa_at_every_layer(model, pairs, seed=int(decoding.seed or 0))
    checked = _checked(methods, model)
    texts = FixedTexts.sample(model, pairs.spread(cost_prompts), decoding=decoding)
    return forecast_along(model, pairs, checked, texts, progress=progress)


def check_fine(model: SteerableModel) -> None:
    """Raise a ValueError for a model in whose dtype small steps are lost."""
    dtype = model.cfg.dtype
    if dtype in _COARSE:
        raise ValueError(
            f"the model computes in {dtype}, in which small steps are lost in rounding: expected "
            "float32 or float64, load_model(..., dtype=torch.float32)"
        )


def forecast_along(
    model: SteerableModel,
    pairs: ContrastivePairs,
    methods: Mapping[str, Intervention],
    texts: FixedTexts,
    *,
    progress: bool,
) -> Forecast:
    """What `forecast` gives, along texts that several calls share.

    Raises:
        ValueError: As `forecast`.
    """
    scope = texts.scope
    found = Derivatives.measure(model, pairs, methods, texts, scope=scope, progress=progress)
    if not found.names:
        reasons = "; ".join(f"{name}: {why}" for name, why in found.left_out.items())
        raise ValueError(f"no method has derivatives at strength 0: {reasons}")
    signs = torch.tensor([1.0 if methods[name].strength > 0 else -1.0 for name in found.names])
    return Forecast(
        found.names,
        found.slopes,
        found.curvatures,
        signs.double(),
        texts.draws,
        found.margins,
        pairs.groups,
        found.left_out,
        int(texts.decoding.seed or 0),
    )


def caa_at_every_layer(
    model: SteerableModel, pairs: ContrastivePairs, *, seed: int
) -> tuple[dict[str, Intervention], ContrastivePairs]:
    """CAA at every layer, fitted to one half of the pairs, and the other half."""
    train, rest = pairs.split(0.5, 0.5, seed=seed)
    activations = capture(model, train, "resid", read="mean", progress=False)
    layers = range(int(model.cfg.n_layers))
    return {f"CAA, layer {i}": CAA.fit(activations.at(layer=i)) for i in layers}, rest


def _checked(methods: Mapping[str, Intervention], model: SteerableModel) -> dict[str, Intervention]:
    if not methods:
        raise ValueError("got no methods, expected a name for each: {'CAA': method}")
    for name, method in methods.items():
        method.checked_edits(model)
        if method.strength == 0:
            raise ValueError(
                f"{name!r} has strength 0, which has no direction: give it the sign in which it is "
                "to steer, with_strength(1.0)"
            )
    return dict(methods)
