"""Controls of scores by likelihood: what is reached without steering, or without the question."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from lens_steer.arguments import Count, NotBlank, Seed, shortened
from lens_steer.benchmark.answer_bias import AnswerBias
from lens_steer.benchmark.learned import learn
from lens_steer.data import Question, Questions
from lens_steer.evaluation import AnswerLikelihoods, answer_log_probs
from lens_steer.models import Prompt, SteerableModel
from lens_steer.sites import Site
from lens_steer.steering import Scope


def without_question(questions: Questions) -> Questions:
    r"""The same choices after prompts from which the question itself is taken out.

    Raises:
        ValueError: If a question does not say which part of its prompt it is (`bare`).

    Example:
        >>> without_question(questions)[0].prompt
        'Q: \nA:'
    """
    return _with_bares(questions, [""] * len(questions))


def with_another_question(questions: Questions, *, seed: Seed) -> Questions:
    """The same choices after the question of another item, never one of the same words.

    Args:
        questions: The questions.
        seed: Of which question goes where; each goes to one other item.

    Raises:
        ValueError: If a question does not say which part of its prompt it is, or more than half of
            them have the same words.

    Example:
        >>> with_another_question(questions, seed=0)[0].prompt
    """
    bares = [question.bare for question in questions]
    order = np.random.default_rng(seed).permutation(len(bares)).tolist()
    first = {bare: i for i, bare in reversed(list(enumerate(bares[i] for i in order)))}
    order.sort(key=lambda i: first[bares[i]])  # the same words together; otherwise as drawn
    step = max(bares.count(bare) for bare in set(bares))
    if 2 * step > len(bares):
        raise ValueError(
            f"{step} of {len(bares)} questions have the same words, expected at most half, so that "
            "each item can be given another question"
        )
    given = {i: bares[order[(k + step) % len(order)]] for k, i in enumerate(order)}
    return _with_bares(questions, [given[i] for i in range(len(bares))])


def with_instruction(questions: Questions, instruction: NotBlank) -> Questions:
    r"""The same questions with an instruction put before their prompts: prompting as a method.

    Args:
        questions: The questions.
        instruction: The text, with the space or line break that is to stand after it. It is put
            before the first message of a chat.

    Example:
        >>> with_instruction(questions, "Answer truthfully.\n\n")
    """
    items = [
        replace(q, prompt=_before(q.prompt, instruction), instruction=instruction)
        for q in questions
    ]
    return replace(questions, items=tuple(items))


def shortest_answer(found: AnswerLikelihoods) -> AnswerLikelihoods:
    """The score of a choice is minus the number of its tokens, under every setting: no model.

    Example:
        >>> shortest_answer(found).rows(0)
    """
    nats = torch.full_like(found.nats, -torch.inf)
    for i, tokens in enumerate(found.tokens):
        nats[:, i, : len(tokens)] = -torch.tensor(tokens).double()
    return replace(found, nats=nats)


def answer_controls(  # noqa: PLR0913 - each is what one of the controls needs
    model: SteerableModel,
    train: Questions,
    test: Questions,
    *,
    instruction: str = "",
    site: Site | None = None,
    scope: Scope = "last",
    steps: Count = 10,
    unsteered: AnswerLikelihoods | None = None,
    seed: Seed,
    progress: bool = True,
) -> dict[str, AnswerLikelihoods]:
    """The controls of a task that is scored by likelihood, by name, `unsteered` among them.

    Each has one setting that counts, the last: `found.rows(len(found) - 1)`. Controls that a task
    does not have are left out: `answer bias` where choices are not from a set of answers that train
    has too, `no question` and `another question` where an item does not say which part of its
    prompt the question is.

    Args:
        train: Questions to fit on.
        test: Questions to score.
        instruction: What `prompting` puts before every prompt; empty leaves it out.
        site: Where `learned vector` is learned and added, see `learn`; None leaves it out.
        scope: Where it steers, see `steered`.
        steps: Steps of learning it.
        unsteered: Of `test`, where it has been read before.
        seed: Of the question of another item, and of the batches of learning.
        progress: Whether to show bars.

    Raises:
        ValueError: As `answer_log_probs` and `learn`.

    Example:
        >>> found = ls.benchmark.answer_controls(model, train, test, site=ls.Site(15), seed=0)
        >>> found["answer bias"].rows(0)
    """
    plain = unsteered or answer_log_probs(model, test, progress=progress)
    controls = {"unsteered": plain, "shortest answer": shortest_answer(plain)}
    if _answers(test) <= _answers(train) and len(_answers(train)) < len(train):
        of_train = answer_log_probs(model, train, progress=progress)
        controls["answer bias"] = AnswerBias.fit(of_train).apply(plain)
    others: dict[str, Callable[[], Questions]] = {}
    if all(question.bare for question in test):
        others["no question"] = lambda: without_question(test)
        others["another question"] = lambda: with_another_question(test, seed=seed)
    if instruction:
        others["prompting"] = lambda: with_instruction(test, instruction)
    for name, asked in others.items():
        controls[name] = answer_log_probs(model, asked(), progress=progress)
    if site is not None:
        pairs = train.pairs()
        method = learn(model, pairs, site, steps=steps, scope=scope, seed=seed, progress=progress)
        controls["learned vector"] = answer_log_probs(
            model, test, [method], scope=scope, unsteered=plain, progress=progress
        )
    return controls


def _answers(questions: Questions) -> set[str]:
    return {choice for question in questions for choice in question.choices}


def _with_bares(questions: Questions, bares: list[str]) -> Questions:
    items = [_asked(q, bare, i) for i, (q, bare) in enumerate(zip(questions, bares, strict=True))]
    return replace(questions, items=tuple(items))


def _asked(question: Question, bare: str, number: int) -> Question:
    """The same choices after a prompt that asks something else."""
    if not question.bare:
        raise ValueError(
            f"question {number} does not say which part of its prompt is the question, expected "
            f"`bare` to be set: {shortened(question.prompt)}"
        )
    return replace(question, prompt=_replaced(question, bare), bare=bare)


def _replaced(question: Question, bare: str) -> Prompt:
    """The prompt with another text in place of the last place where the question stands."""
    if isinstance(question.prompt, str):
        before, _, after = question.prompt.rpartition(question.bare)
        return before + bare + after
    messages = list(question.prompt)
    k = max(i for i, message in enumerate(messages) if question.bare in message.content)
    before, _, after = messages[k].content.rpartition(question.bare)
    messages[k] = replace(messages[k], content=before + bare + after)
    return tuple(messages)


def _before(prompt: Prompt, instruction: str) -> Prompt:
    if isinstance(prompt, str):
        return instruction + prompt
    first = replace(prompt[0], content=instruction + prompt[0].content)
    return (first, *prompt[1:])
