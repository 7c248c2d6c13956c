"""Personas: repeng's lists with openings of answers, and the traits of persona vectors."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from lens_steer.arguments import Texts, shortened
from lens_steer.data.contrastive_pairs import ContrastivePairs
from lens_steer.data.example import Example
from lens_steer.data.prompts import Prompts
from lens_steer.data.published.published_set import About, PublishedSet
from lens_steer.data.published.rows import TEXT, FileRows, LeaveOutError, gathered, read_file
from lens_steer.data.templates import Template
from lens_steer.models import Message, Prompt

_SIDES = (("positive_personas", "negative_personas"), ("positive", "negative"))
REPENG = About(
    "repeng",
    "MIT",
    "Vogel 2024, repeng, github.com/vgel/repeng",
    (frozenset({TEXT}), *(frozenset(couple) for couple in _SIDES)),
    template="chat",
    counts="several hundred openings of answers",
)
TRAITS = About(
    "persona-vectors",
    "that of its repository, github.com/safety-research/persona_vectors",
    "Chen et al. 2025, Persona Vectors, arXiv:2507.21509",
    (frozenset({"instruction", "questions"}),),
    template="chat",
    counts="5 couples of instructions and 20 questions a file",
)
_PERSONA = "{persona}"
_LAST_WORD = re.compile(r"\s*\S+$")


def repeng(
    file: FileRows,
    template: Template,
    *,
    positive: Texts | None = None,
    negative: Texts | None = None,
    persona: str = "Act as if you were extremely {persona}.",
    suffixes: str | Path | None = None,
) -> PublishedSet:
    """Openings of answers, each said as somebody and as somebody else: repeng's pairs.

    `all_truncated_outputs.json` is a list of openings: with `positive` and `negative` it makes
    pairs, without them prompts. A file of `{"positive_personas": [...], "negative_personas": [...],
    "template": "... {persona} ..."}` (or `positive` and `negative`) has the personas itself, and
    `suffixes` names the openings.

    The n-th positive and the n-th negative persona belong together. A pair is an opening after the
    persona's instruction; its last word is the continuation, so that activations read at the last
    token are those after the whole opening. Sides are unpaired, as their prompts differ; an opening
    is the group. Blank openings are left out.

    Args:
        file: The file.
        template: How the instruction is put; with "chat", the default, the opening is the beginning
            of the answer.
        positive: Personas that show the behaviour.
        negative: As many that do not.
        persona: The instruction, with `{persona}` where the persona goes.
        suffixes: The file of openings, where `file` has the personas.

    Licence: MIT. Source: Vogel 2024.
    """
    if (file.document is None) is not (suffixes is None):
        raise ValueError(
            f"{file.path} has personas, expected suffixes='all_truncated_outputs.json' (a list of "
            "openings) with it"
            if suffixes is None
            else f"got suffixes={str(suffixes)!r}, expected none: {file.path} has openings itself"
        )
    if file.document is not None and suffixes is not None:
        if positive is not None or negative is not None:
            raise ValueError(f"got personas, expected none: {file.path} has some itself")
        couple = next(couple for couple in _SIDES if couple[0] in file.document)
        positive, negative = (_texts(file, name, file.document[name]) for name in couple)
        [persona] = _texts(file, "template", [file.document.get("template", persona)])
        file = read_file(suffixes)
    openings, left_out = gathered(file, _opening)
    name = f"{REPENG.name}:{file.name}"
    pairs = None
    if positive is not None or negative is not None:
        sides = [
            [
                _as_persona(instruction, opening, template)
                for instruction, opening in product(each, openings)
            ]
            for each in _instructions(positive, negative, persona)
        ]
        pairs = ContrastivePairs(tuple(sides[0]), tuple(sides[1]), paired=False, name=name)
    prompts = Prompts(tuple(openings), name=name, left_out=left_out)
    return PublishedSet(REPENG, pairs=pairs, prompts=prompts, left_out=left_out)


def persona_vectors(file: FileRows, template: Template) -> PublishedSet:
    """A trait of persona vectors: questions, and instructions to show the trait and not to.

    A `.json` object of `instruction` (a list of `{"pos": ..., "neg": ...}`), `questions` and
    `eval_prompt`. The set has the questions as `prompts`; `desired_prompts` and
    `undesired_prompts` are each question under each instruction (a system message, with "chat"),
    the question being the group. Its vectors are made of answers that a model writes to these: the
    file holds none. `judge_prompt` is `eval_prompt` as it is.

    Licence: that of its repository. Source: Chen et al. 2025, arXiv:2507.21509.
    """
    found = file.document or {}
    questions = _texts(file, "questions", found.get("questions"))
    couples = found.get("instruction")
    if not isinstance(couples, Sequence) or not all(isinstance(c, Mapping) for c in couples):
        raise ValueError(
            f"{file.path}: 'instruction' is {shortened(couples)}, expected a list of "
            "{'pos': ..., 'neg': ...}"
        )
    name = f"{TRAITS.name}:{file.name}"
    sides = []
    for side in ("pos", "neg"):
        told = _texts(file, f"instruction {side}", [couple.get(side) for couple in couples])
        both = list(product(told, questions))
        items = [_instructed(instruction, q, template) for instruction, q in both]
        sides.append(
            Prompts(tuple(items), tuple(question for _, question in both), f"{name}:{side}")
        )
    return PublishedSet(
        TRAITS,
        prompts=Prompts(tuple(template.prompt(q) for q in questions), name=name),
        desired_prompts=sides[0],
        undesired_prompts=sides[1],
        judge_prompt=str(found.get("eval_prompt", "")),
    )


def _opening(row: Any) -> str:
    if not isinstance(row, str):
        raise ValueError(f"got {shortened(row)}, expected a text")
    if not row.strip():
        raise LeaveOutError("a blank opening")
    return row.rstrip()


def _instructions(
    positive: Any, negative: Any, persona: str
) -> tuple[Iterable[str], Iterable[str]]:
    if _PERSONA not in persona:
        raise ValueError(f"got persona={shortened(persona)}, expected {_PERSONA} in it")
    positive, negative = list(positive or ()), list(negative or ())
    if not positive or len(positive) != len(negative):
        raise ValueError(
            f"got {len(positive)} positive and {len(negative)} negative personas, expected as "
            "many of either, at least one"
        )
    told = [[persona.replace(_PERSONA, who) for who in whom] for whom in (positive, negative)]
    return told[0], told[1]


def _as_persona(instruction: str, opening: str, template: Template) -> Example:
    last = _LAST_WORD.search(opening)
    start = last.start() if last else 0
    begun, word = opening[:start], opening[start:]
    prompt = template.prompt(instruction)
    if not isinstance(prompt, str):
        prompt = (*prompt, Message("assistant", begun)) if begun else prompt
        return Example(prompt, word if begun else word.lstrip(), opening)
    whole = prompt + template.answer(instruction, opening)
    return Example(whole[: len(whole) - len(word)], word, opening)


def _instructed(instruction: str, question: str, template: Template) -> Prompt:
    prompt = template.prompt(question)
    if isinstance(prompt, str):
        return f"{instruction}\n\n{prompt}"
    return (Message("system", instruction), *prompt)


def _texts(file: FileRows, what: str, found: Any) -> list[str]:
    listed = list(found) if isinstance(found, list | tuple) else []
    if not listed or not all(isinstance(text, str) and text.strip() for text in listed):
        raise ValueError(
            f"{file.path}: {what!r} is {shortened(found)}, expected a list of texts, none blank"
        )
    return listed
