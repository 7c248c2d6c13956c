"""The interchange bound: what exchanging a whole activation moves, beside what methods move."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from tqdm.auto import tqdm

from lens_steer.arguments import Accepts, Count, Expected, Layers, Seed, Share
from lens_steer.data import ContrastivePairs
from lens_steer.diagnostics.carried import Interchange
from lens_steer.diagnostics.exchanged_runs import Probe, asked, exchanged
from lens_steer.diagnostics.named_methods import check_named
from lens_steer.evaluation import log_probabilities
from lens_steer.intervals import interval
from lens_steer.models import SteerableModel, attach, batches, check_unsteered
from lens_steer.sites import Site, hook_points
from lens_steer.steering import Intervention, Scope, check_scope

Counts = Annotated[
    Sequence[int],
    Expected(
        "numbers of tokens, whole numbers from 1, each once",
        lambda counts: len(counts) > 0 and min(counts) >= 1 and len(set(counts)) == len(counts),
    ),
]


def interchange(  # noqa: PLR0913 - what is exchanged, and what is compared with it
    model: SteerableModel,
    pairs: ContrastivePairs,
    probe: Probe,
    methods: Annotated[Mapping[str, Intervention] | None, Accepts(Mapping | None)] = None,
    *,
    layers: Layers | None = None,
    tokens: Counts = (1,),
    scope: Scope = "last",
    sink: bool = False,
    least: Share = 0.1,
    token_budget: Count = 2048,
    seed: Seed = 0,
    progress: bool = True,
) -> Interchange:
    """Put the residual stream of a desired text into an undesired one, layer by layer.

    At a pair's last prompt token nothing differs yet, so that the texts are read to their ends:
    prompt, continuation and the probe's text. There the whole stream of the last tokens before the
    answer is replaced by the desired text's, and the probe's answers are scored. It is what a push
    at that layer and those tokens can carry if it makes the activation a desired one: a reference,
    not a limit, as a push may also go where no text does.

    With one token and answers of one token the last layer carries all of the gap by construction.
    Methods steer the undesired text with the probe as its prompt: scope `last` then edits the token
    that is exchanged. Of a longer answer its tokens too, which the exchange leaves alone.

    Args:
        pairs: Paired examples.
        probe: What is asked after both continuations.
        methods: Methods by name, each at the strength that is to be judged.
        layers: Behind which blocks; None is all. Those that methods edit last are added.
        tokens: How many tokens before the answer are exchanged; the first is what verdicts use.
        scope: Where methods steer; see `steered`.
        sink: See `steered`.
        least: The share of the gap from which on something counts as moved.
        token_budget: Tokens of a batch; speed and memory only.
        seed: Of the intervals over groups.
        progress: Whether to show a bar.

    Raises:
        ValueError: If the pairs are unpaired, a layer is out of range, a method does not fit the
            model, the model is being steered, a text is shorter than what is exchanged, or the
            probe does not tell the texts apart: the interval of the gap is not above 0.

    Example:
        >>> probe = ls.diagnostics.Probe(" Overall it was", " good", " bad")
        >>> found = ls.diagnostics.interchange(model, test, probe, {"CAA": caa}, layers=[8, 15, 22])
        >>> found.methods()  # with a verdict for each
    """
    named = check_named(methods, pairs, model) if methods else {}
    where = check_scope(scope, sink=sink)
    check_unsteered(model, "exchange activations")
    last = [max(site.layer for site in method.sites) for method in named.values()]
    chosen = sorted({*(range(model.cfg.n_layers) if layers is None else layers), *last})
    hook_points(model, [Site(layer) for layer in chosen])
    questions = asked(model, pairs, probe, max(tokens))
    attach(model)
    donated, clean = torch.zeros(2, len(questions), dtype=torch.double)
    moved = torch.zeros(len(chosen), len(tokens), len(questions), dtype=torch.double)
    lengths = [2 * max(len(r.ids) for r in (*q.donor, *q.receiver)) for q in questions]
    with tqdm(total=len(questions), desc="interchange", disable=not progress) as bar:
        for part in batches(lengths, token_budget):
            some = [questions[i] for i in part]
            donated[part], clean[part], moved[:, :, part] = exchanged(model, some, chosen, tokens)
            bar.update(len(part))
    gap = donated - clean
    found = interval(gap, pairs.groups, seed=seed)
    if not found.low > 0:  # NaN, of a single group, compares as False
        raise ValueError(
            f"the probe does not tell the texts apart: a gap of {found} nats per token over "
            f"{len(set(pairs.groups))} groups, expected an interval above 0: ask something else, "
            "or pass more pairs"
        )
    rows = [row for question in questions for row in question.receiver]
    pushed = torch.zeros(len(named), len(questions), dtype=torch.double)
    for i, method in enumerate(named.values()):
        scores = log_probabilities(model, rows, method, scope=where)
        means = torch.stack([score.double().mean() for score in scores])
        pushed[i] = means[::2] - means[1::2] - clean
    return Interchange(
        tuple(chosen),
        tuple(tokens),
        moved - clean,
        gap,
        tuple(named),
        tuple(last),
        pushed,
        float(least),
        pairs.groups,
        seed,
    )
