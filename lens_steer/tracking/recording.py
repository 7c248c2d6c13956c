"""Following features through a model, steered and not."""

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.activations import ReadPosition
from lens_steer.linearity import FeatureDirections, Texts
from lens_steer.models import SteerableModel, attach
from lens_steer.steering import Decoding, Intervention
from lens_steer.tracking.passages import CleanAndSteeredRun, in_batches, in_order
from lens_steer.tracking.report import TrackingReport, check_setpoints
from lens_steer.tracking.texts import TrackedTexts


def record(  # noqa: PLR0913 - each is a knob of its own
    model: SteerableModel,
    method: Intervention,
    texts: Texts,
    features: FeatureDirections,
    setpoints: Float[Tensor, " layer_and_last"],
    *,
    read: ReadPosition = "last",
    max_new_tokens: int = 0,
    temperature: float | int = 1.0,
    seed: int,
    progress: bool = True,
) -> TrackingReport:
    """Follow features through a model, steered by any method and not.

    Steering begins at the token that `capture` reads, which is offset 0. Further tokens are those
    that the unsteered model writes after the text: both runs see the same ones.

    Args:
        texts: Strings, examples, or pairs, of which both sides are taken, the desired first.
        features: Directions, from `Features.of` of activations captured at the same `read`.
        setpoints: beta_k, in units of v_k . z_k; such as `LQR.setpoints`.
        read: As in `capture`.
        max_new_tokens: Further tokens, at most; each is steered.
        temperature: Of these; 0 is greedy.
        seed: Of the further tokens and the intervals.

    Raises:
        ValueError: If the method or the features do not fit the model, the method edits the
            embedding, the model is being steered, or the texts do not fit the context.
    """
    check_setpoints(features, setpoints)
    check_features(model, features)
    decoding = Decoding(temperature, seed=seed)
    parts = []
    attach(model)
    rows = TrackedTexts.of(model, texts, read).continued(model, max_new_tokens, decoding)
    with tqdm(total=len(rows.groups), desc="record", disable=not progress) as bar:
        for batch, part in in_batches(model, rows.encoded):
            parts.append((batch, *_reduced(part.passage(method, "last"), features)))
            bar.update(len(batch))
    clean, steered, energy = (in_order([(p[0], p[i]) for p in parts]) for i in (1, 2, 3))
    named = (rows.groups, rows.classes, seed)
    return TrackingReport(clean, steered, energy, features, setpoints, *named)


def check_features(model: SteerableModel, features: FeatureDirections) -> None:
    """Raise a ValueError if they are of another number of layers, or another width."""
    own, given = (model.cfg.n_layers + 1, model.cfg.d_model), tuple(features.directions.shape)
    if own != given:
        raise ValueError(f"features of shape {given}, but the model's states are {own}")


def _reduced(
    found: CleanAndSteeredRun, features: FeatureDirections
) -> tuple[Tensor, Tensor, Tensor]:
    v = features.directions.double()
    signals = (torch.einsum("tokd,kd->tok", z.double(), v) for z in (found.clean, found.steered))
    length = found.clean[:, :, 1:].double().square().sum(dim=-1)
    energy = found.pushes.double().square().sum(dim=-1) / length
    clean, steered = signals
    return clean, steered, energy
