"""Where the embedded model's latents are: probes by layer and by head, linear and of degree 2."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

import lens_steer as ls
from lens_steer import organism
from lens_steer.activations import LabelTokenWarning
from lens_steer.benchmark import SHARES
from lens_steer.data import Example
from lens_steer.models import SteerableModel

Classes = tuple[Float[Tensor, "_ d"], Float[Tensor, "_ d"]]
COMPONENTS = 12  # principal components that the degree-2 probe sees


def spoken(name: str) -> ls.ContrastivePairs:
    """Prompts with a persona of the desired pole, and the same with another persona, unpaired.

    They are read at their last token, after up to three sentences that say nothing: what a probe
    reads there was carried along.
    """
    behaviour = organism.behaviour(name)
    groups = [group for *_, group in organism.rows(name)]
    sides = (
        tuple(
            Example("", prompt, group)
            for prompt, group in zip(organism.persona_prompts(name, pole), groups, strict=True)
        )
        for pole in (behaviour.desired, behaviour.undesired[0])
    )
    return ls.ContrastivePairs(*sides, paired=False, name=f"personas of {name}")


def by_layer(model: SteerableModel, *, seed: int) -> pd.DataFrame:
    """Held-out accuracy of a linear probe for every behaviour, read position and layer."""
    rows = []
    for name in organism.behaviours():
        texts = ls.ContrastivePairs.load(f"organism:{name}")
        for read, pairs in (("told by the persona", spoken(name)), ("shown by the text", texts)):
            train, test = _captured(model, pairs, "resid", seed)
            for layer in range(-1, model.cfg.n_layers):
                accuracy = probe(_resid(train, layer), _resid(test, layer), linear)
                rows.append({"behaviour": name, "read": read, "layer": layer, "accuracy": accuracy})
    return pd.DataFrame(rows)


def by_head(model: SteerableModel, *, seed: int) -> pd.DataFrame:
    """Held-out accuracy of a linear probe on every head's output, after a text with the pole."""
    rows = []
    for name in organism.behaviours():
        pairs = ls.ContrastivePairs.load(f"organism:{name}")
        train, test = _captured(model, pairs, "head", seed)
        for layer in range(model.cfg.n_layers):
            for head in range(model.cfg.n_heads):
                fitted, held_out = (
                    (part.at(layer).desired[:, head], part.at(layer).undesired[:, head])
                    for part in (train, test)
                )
                accuracy = probe(fitted, held_out, linear)
                rows.append({"behaviour": name, "layer": layer, "head": head, "accuracy": accuracy})
    return pd.DataFrame(rows)


def by_degree(model: SteerableModel, name: str, *, seed: int, read: str = "mean") -> pd.DataFrame:
    """Held-out accuracy of a linear and of a degree-2 probe, layer by layer."""
    rows = []
    pairs = ls.ContrastivePairs.load(f"organism:{name}")
    train, test = _captured(model, pairs, "resid", seed, read)
    for layer in range(-1, model.cfg.n_layers):
        for degree, classifier in (("linear", linear), ("degree 2", quadratic)):
            accuracy = probe(_resid(train, layer), _resid(test, layer), classifier)
            rows.append({"behaviour": name, "layer": layer, "probe": degree, "accuracy": accuracy})
    return pd.DataFrame(rows)


def probe(train: Classes, test: Classes, classifier: Callable[[], Any]) -> float:
    """The accuracy on `test` of a classifier fitted on `train`."""
    (x, y), (held_out, truth) = (_stacked(*part) for part in (train, test))
    return float(classifier().fit(x, y).score(held_out, truth))


def linear() -> Any:
    """Logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


def quadratic() -> Any:
    """Logistic regression on the products of the leading principal components."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    return make_pipeline(
        PCA(COMPONENTS, whiten=True, random_state=0),
        PolynomialFeatures(2),
        StandardScaler(),
        LogisticRegression(C=0.1, max_iter=2000),
    )


def _captured(
    model: SteerableModel, pairs: ls.ContrastivePairs, kind: str, seed: int, read: Any = "last"
) -> tuple[ls.Activations, ls.Activations]:
    train, _, test = pairs.split(*SHARES, seed=seed)
    with warnings.catch_warnings():  # two classes of prompts may end in different fillers
        warnings.simplefilter("ignore", LabelTokenWarning)
        first, second = (
            ls.capture(model, part, kind, read=read, progress=False) for part in (train, test)
        )
    return first, second


def _resid(activations: ls.Activations, layer: int) -> Classes:
    """Both classes at one layer; -1 is the embedding."""
    if layer >= 0:
        return activations.at(layer).desired, activations.at(layer).undesired
    assert activations.embedded_desired is not None
    assert activations.embedded_undesired is not None
    return activations.embedded_desired, activations.embedded_undesired


def _stacked(
    desired: Float[Tensor, "desired d"], undesired: Float[Tensor, "undesired d"]
) -> tuple[np.ndarray, np.ndarray]:
    x = torch.cat([desired, undesired]).numpy()
    return x, np.repeat([1, 0], [len(desired), len(undesired)])
