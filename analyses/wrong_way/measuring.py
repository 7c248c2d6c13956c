"""What one cell measures: slopes of single pairs by path, crossed pairs, and what repairs gain."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import lens_steer as ls
from analyses.forecast.candidates import layers
from analyses.forecast.measuring import COST_PROMPTS, Tested
from analyses.registered.measuring import numbers, short
from analyses.wrong_way.paths import Readouts, Slopes, mean_change
from lens_steer.benchmark import FAMILIES, FitCache
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, OutOfReach, calibrate_along, evaluate_each
from lens_steer.forecasting import margins
from lens_steer.models import batches, encode, pad, read
from lens_steer.sites import Site
from lens_steer.steering import Intervention

NATS = 0.1  # per token, along unsteered texts
REPAIRS = ("known", "guessed")  # the slope of a prompt: measured with its endings, or predicted
_MEAN_OF = 16  # train pairs whose mean change is compared with a text's own
STEP = 0.1  # of the strength: a hundredth of the nats
_TOKENS = 2048


@dataclass(frozen=True, eq=False)
class Cell(Tested):
    """A task and the fold that is tested.

    Attributes:
        layers: How many layers CAA is made at, spread over the model.
    """

    layers: int = 6

    def rows(self) -> list[dict[str, Any]]:
        """A row of the clean model, and one of CAA at every layer."""
        dev, test = self.parts
        cache = FitCache(self.model, self.task.train(self.seed, self.fold))
        few = dev.spread(COST_PROMPTS)
        texts = FixedTexts.sample(self.model, few, decoding=self.decoding)
        names = list(dict.fromkeys(test.groups))
        clean = {"layer": None, "margins": numbers(margins(self.model, test)[0])}
        readouts = [Readouts.of(self.model, pairs) for pairs in (cache.train, test)]
        rows = [clean | {"groups": [names.index(group) for group in test.groups]}]
        n_layers = int(self.model.cfg.n_layers)
        for layer in layers(n_layers, self.layers):
            setting = {"layer": layer, "read": "mean"}
            try:
                method = calibrate_along(
                    self.model,
                    FAMILIES["CAA"].make(cache, setting),
                    texts,
                    kl=NATS,
                    progress=False,
                )
            except OutOfReach as error:
                rows.append({"layer": layer, "failed": str(error)})
                continue
            rows.append({"layer": layer} | self._layer(cache, test, readouts, method))
        return rows

    def _layer(
        self,
        cache: FitCache,
        test: ContrastivePairs,
        readouts: Sequence[Readouts],
        method: Intervention,
    ) -> dict[str, Any]:
        """Slopes by path, and what the repairs gain; all per strength of `NATS` nats."""
        [site], strength = method.sites, float(method.strength)
        layer, step = site.layer, STEP * strength
        usual = mean_change(self.model, cache.train.spread(_MEAN_OF), method, step=step)
        there, here = (Slopes.measure(each, method, usual, step=step) for each in readouts)
        states = [prompt_states(self.model, pairs, layer) for pairs in (cache.train, test)]
        told = {"known": here.whole, "guessed": guessed(states[0], there.whole, states[1])}
        scales = {name: gate_scale(slopes) for name, slopes in told.items()}
        settings = [1.0, -1.0, *(scales[name] for name in REPAIRS)]
        steered = [method.with_strength(s * strength) for s in settings]
        found = margins(self.model, test, steered)
        row = {
            "strength": short(strength),
            "slopes": {
                name: numbers(strength * getattr(here, name))
                for name in ("direct", "attention", "mlp", "mean_change")
            },
            "guessed": numbers(strength * told["guessed"]),
            "scales": [short(s) for s in settings],
            "changes": [numbers(each - found[0]) for each in found[1:]],
        }
        if layer == int(self.model.cfg.n_layers) // 2:
            row |= self._texts(test, steered)
        return row

    def _texts(self, test: ContrastivePairs, steered: Sequence[Intervention]) -> dict[str, Any]:
        """The behaviour and the cost of every prompt's text, unsteered first."""
        how: dict[str, Any] = {"judge": self.task.judge, "decoding": self.decoding}
        trials = evaluate_each(self.model, test, [None, *steered], **how)
        costs: list[Any] = [each.text_costs for each in trials]
        return {
            "shown": [numbers(each.behaviour) for each in trials],
            "nats": [numbers(each.kl) for each in costs],
            "tokens": [[int(n) for n in each.draws.tolist()] for each in costs],
        }


def gate_scale(slopes: Float[Tensor, " pair"]) -> float:
    """By how much the strength grows where only prompts of positive slope are steered.

    The nats of a parabola, averaged over all prompts, then stay what they were. 0 where no prompt
    is steered.
    """
    share = float((slopes > 0).double().mean())
    return share**-0.5 if share else 0.0


def guessed(
    train: Float[Tensor, "row d"], slopes: Float[Tensor, " row"], test: Float[Tensor, "pair d"]
) -> Float[Tensor, " pair"]:
    """Slopes predicted by ridge regression from the activations at the last prompt token."""
    ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-1, 5, 13)))
    ridge.fit(train.numpy(), slopes.numpy())
    return torch.from_numpy(np.asarray(ridge.predict(test.numpy()))).double()


def prompt_states(
    model: ls.SteerableModel, pairs: ContrastivePairs, layer: int
) -> Float[Tensor, "pair d"]:
    """The stream behind a block at the last token of each prompt, float64."""
    rows = [encode(model, e.prompt, e.continuation) for e in pairs.desired]
    states = torch.zeros(len(rows), int(model.cfg.d_model)).double()
    for batch in batches([row.prompt_length for row in rows], _TOKENS):
        some = [rows[i] for i in batch]
        tokens, mask = pad(model, [row.ids[: row.prompt_length] for row in some])
        last = torch.tensor([row.prompt_length - 1 for row in some])
        with torch.no_grad():
            x = read(model, tokens, mask, {Site(layer): torch.Tensor.double})[Site(layer)].cpu()
        states[batch] = x[torch.arange(len(batch)), last]
    return states
