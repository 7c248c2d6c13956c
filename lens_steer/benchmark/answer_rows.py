"""The rows of an `AnswerTable`, each scored once, and kept as soon as it is there."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.artifacts import save
from lens_steer.benchmark.journal import Journal, content
from lens_steer.benchmark.settings import made_on
from lens_steer.data import Questions
from lens_steer.evaluation import AnswerLikelihoods, answer_costs
from lens_steer.models import SteerableModel
from lens_steer.steering import Intervention, Methods, Scope

JOURNAL, FORM = "rows.jsonl", 1


@dataclass(frozen=True)
class KeptRows:
    """Results by name: made once, and read again where a run that was stopped goes on.

    Attributes:
        journal: Where they are kept; None keeps nothing.
    """

    journal: Journal | None = None

    @classmethod
    def in_folder(cls, out: Path, terms: Mapping[str, Any]) -> "KeptRows":
        """Those of a run with these terms, in a folder.

        Raises:
            ValueError: If the folder holds a run with others, or one that is damaged.
        """
        return cls(Journal(out / JOURNAL, terms))

    def __contains__(self, unit: tuple[str, ...]) -> bool:
        return self.journal is not None and unit in self.journal.done

    def get(
        self, unit: tuple[str, ...], make: Callable[[], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """The rows of a unit of work: numbers, texts and lists of them, by name."""
        if self.journal is None:
            return make()
        if unit not in self.journal.done:
            self.journal.add(unit, make())
        return [content(r) for r in self.journal.rows if tuple(r["unit"]) == unit]


def run_terms(
    model: SteerableModel,
    questions: Mapping[str, Questions],
    methods: Mapping[str, Intervention],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """What a run is started with: it goes on only where all of it is the same.

    Args:
        model: Its weights count, by their SHA-256.
        questions: Those that are scored and those that are fitted on.
        methods: By name; what would be saved of each counts.
        settings: All others.

    Raises:
        ValueError: If a method cannot be saved.
    """
    # What the form is has said which questions are left: those are what counts.
    digests = {
        name: _digest({k: v for k, v in asdict(part).items() if k != "form"})
        for name, part in questions.items()
    }
    of_methods = {name: _digest_of_method(method) for name, method in methods.items()}
    own = {"form": FORM, "questions": digests, "methods": of_methods}
    return made_on(model, ()) | own | dict(settings)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, default=str, sort_keys=True).encode()).hexdigest()


def _digest_of_method(method: Intervention) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "method.safetensors"
        save(method, path)
        return hashlib.sha256(path.read_bytes()).hexdigest()


def row_of(found: AnswerLikelihoods, setting: int) -> dict[str, Any]:
    """The likelihoods of one setting, to be kept: exact, question by question."""
    return {
        "nats": [row.tolist() for row in found.rows(setting)],
        "tokens": [list(row) for row in found.tokens],
    }


def likelihoods_of(
    row: Mapping[str, Any],
    unsteered: AnswerLikelihoods | None,
    questions: Questions,
    methods: Methods = (),
) -> AnswerLikelihoods:
    """What `row_of` was made of, behind the unsteered likelihoods where there are some.

    Args:
        row: What was kept.
        unsteered: The likelihoods of the unsteered model; None where the row is theirs.
        questions: What was scored.
        methods: What steered.
    """
    most = max(len(one.choices) for one in questions)
    nats = torch.full((1, len(questions), most), -torch.inf).double()
    for i, values in enumerate(row["nats"]):
        nats[0, i, : len(values)] = torch.tensor(values).double()
    tokens = tuple(tuple(one) for one in row["tokens"])
    if unsteered is None:
        return AnswerLikelihoods(questions, ((),), nats, tokens)
    both = torch.cat([unsteered.nats[:1], nats])
    return AnswerLikelihoods(questions, ((), methods), both, tokens)


def costs_of(
    model: SteerableModel, found: AnswerLikelihoods, most: int, scope: Scope, seed: int
) -> Float[Tensor, "setting cost"]:
    """Mean nats of each setting over some of the questions: `kl_fixed` and the three on the task.

    Args:
        model: The model.
        found: The likelihoods.
        most: How many questions, at most, evenly spread.
        scope: Where the settings steer.
        seed: Of the unsteered continuations.
    """
    places = spread(len(found.questions), most)
    some = AnswerLikelihoods(
        Questions(tuple(found.questions[i] for i in places), found.questions.name),
        found.settings,
        found.nats[:, places, : max(len(found.questions[i].choices) for i in places)],
        tuple(found.tokens[i] for i in places),
    )
    costs = answer_costs(model, some, scope=scope, seed=seed)
    on_task = (costs.reference_kl, costs.choices_kl, costs.least)
    return torch.stack([costs.kl_fixed, *(one.mean(dim=1) for one in on_task)], dim=1)


def spread(total: int, n: int) -> list[int]:
    """At most `n` of the numbers below `total`, evenly spaced."""
    return list(range(total)) if n >= total else [i * total // n for i in range(n)]
