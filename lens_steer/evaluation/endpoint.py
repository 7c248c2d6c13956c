"""A judge that asks a model behind an OpenAI-compatible endpoint; nothing else here uses a network.

Requests go through the standard library. They are sent when the judge is called, and only then.
"""

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib import error, request
from urllib.parse import urlsplit

from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Count, CountFromZero, NotBlank, Number, Positive, shortened
from lens_steer.evaluation.judges import Judgement
from lens_steer.files import json_value
from lens_steer.reports import short_repr

_PLACES = re.compile(r"\{(prompt|text)\}")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_LARGEST = 2**20  # bytes of an answer: more is not read
_PAUSE = 0.5  # seconds before the first repetition, doubled for every other
_AGAIN = (408, 425, 429, 500, 502, 503, 504)  # statuses that may pass


class EndpointError(ValueError):
    """An endpoint that cannot be used as a judge; the message says why."""


@dataclass(frozen=True)
class Endpoint:
    r"""Scores each text by the answer of a chat model to a question about it.

    The answer has to begin with the word yes (1) or no (0), or be one number from `lowest` to
    `highest`, which become 0 and 1. Any other answer, a request that takes longer than `timeout`,
    and an answer of the server that says it failed are failures: such a text scores 0, is counted
    as unjudged with the reason, and where more than `most_failed` of the texts fail there are no
    scores at all but an error. Answers may differ from day to day, also at temperature 0.
    The texts leave this machine for the one at `url`, through the proxies that the environment
    names; redirections are not followed.

    Attributes:
        url: Where the API begins, such as `http://localhost:8000/v1`; `/chat/completions` is added.
        model: The name of the model, as the endpoint knows it.
        prompt_template: The question. `{text}` stands for the text, `{prompt}` for its prompt.
        key_from: The environment variable with the key; it is read for each call, and neither kept
            nor shown. Empty: no key is sent.
        timeout: Seconds for one request.
        retries: How often a request is repeated that failed in a way that may pass: no connection,
            timeout, statuses 408, 425, 429, 500 and 502 to 504. Pauses begin at 0.5 s and double.
        most_failed: Share of the texts of one call, from 0 to below 1, that may fail.
        lowest: The number that means 0.
        highest: The number that means 1.
        parallel: How many requests run at once.
        options: What is sent besides `model` and `messages`, for models that take other ones.

    Example:
        >>> question = "Is this text rude? Answer yes or no.\n\n{text}"
        >>> judge = Endpoint("http://localhost:8000/v1", "judge", question, key_from="")
        >>> trial = ls.evaluate(model, test, method, judge=judge, seed=0)
        >>> trial.share, trial.unjudged_share
    """

    url: NotBlank
    model: NotBlank
    prompt_template: NotBlank
    key_from: str = "OPENAI_API_KEY"
    timeout: Positive = 30.0
    retries: CountFromZero = 2
    most_failed: Number = 0.05
    lowest: Number = 0.0
    highest: Number = 1.0
    parallel: Count = 4
    options: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0, "max_tokens": 16})

    __repr__ = short_repr

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"got url={self.url!r}, expected one that begins with http(s)://host")
        if parts.username or parts.password or parts.query:
            raise ValueError("got a url with a name, key or query, expected none: use key_from")
        if "{text}" not in self.prompt_template:
            raise ValueError(
                f"got prompt_template={shortened(self.prompt_template)}, expected {{text}} in it"
            )
        if not self.lowest < self.highest:
            raise ValueError(
                f"got lowest={self.lowest:g} and highest={self.highest:g}, expected them in this "
                "order"
            )
        if not 0 <= self.most_failed < 1:
            raise ValueError(
                f"got most_failed={self.most_failed:g}, expected a share from 0 to below 1"
            )
        ours = sorted({"model", "messages", "stream"} & set(self.options))
        if ours:
            raise ValueError(f"got options with {', '.join(ours)}, expected others: leave it out")

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
        """A score for each text, 0 where there is none; see `judged`."""
        return self.judged(prompts, texts).scores

    def judged(self, prompts: Sequence[str], texts: Sequence[str]) -> Judgement:
        """Ask about every text.

        Raises:
            EndpointError: If there is no key, the endpoint refuses the request (a wrong key, model
                or address), or more than `most_failed` of the texts could not be scored; it is a
                ValueError.
        """
        headers = {"Content-Type": "application/json"} | self._authorization()
        bodies = [self._body(p, t) for p, t in zip(prompts, texts, strict=True)]
        with ThreadPoolExecutor(self.parallel) as pool:
            futures = [pool.submit(self._asked, body, headers) for body in bodies]
            try:
                judgement = Judgement.of([future.result() for future in futures])
            except EndpointError:
                pool.shutdown(wait=False, cancel_futures=True)  # the others would be refused too
                raise
        failed = sum(map(bool, judgement.reasons))
        if failed > self.most_failed * len(texts):
            counts = "; ".join(f"{n} x {reason}" for reason, n in judgement.counts.items())
            raise EndpointError(
                f"{self.url}: {failed} of {len(texts)} texts could not be scored, expected at most "
                f"{self.most_failed:.0%} ({counts[:400]}): mend the endpoint or the question, or "
                "raise most_failed"
            )
        return judgement

    def _authorization(self) -> dict[str, str]:
        if not self.key_from:
            return {}
        key = os.environ.get(self.key_from, "")
        if not key:
            raise EndpointError(
                f"the environment variable {self.key_from} is not set, expected the key of "
                f"{self.url}: set it, or write key_from='' where no key is needed"
            )
        return {"Authorization": f"Bearer {key}"}

    def _body(self, prompt: str, text: str) -> bytes:
        parts = {"prompt": prompt, "text": text}
        question = _PLACES.sub(lambda place: parts[place[1]], self.prompt_template)
        message = {"role": "user", "content": question}
        return json.dumps({**self.options, "model": self.model, "messages": [message]}).encode()

    def _asked(self, body: bytes, headers: dict[str, str]) -> float | str:
        """The score that one request gives, or why there is none."""
        address = f"{self.url.rstrip('/')}/chat/completions"
        asked = request.Request(address, data=body, headers=headers, method="POST")
        reason = ""
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(_PAUSE * 2 ** (attempt - 1))
            try:
                return self._score(_content(_sent(asked, self.timeout)))
            except error.HTTPError as refusal:
                with refusal:
                    told = _told(refusal, headers)
                if refusal.code not in _AGAIN:
                    raise EndpointError(
                        f"{address} answered with status {refusal.code} ({told}), expected 200: "
                        "check url, model, key and options"
                    ) from None
                reason = f"status {refusal.code}"
            except TimeoutError:
                reason = f"no answer within {self.timeout:g} s"
            except (OSError, HTTPException) as failure:
                late = isinstance(getattr(failure, "reason", None), TimeoutError)
                reason = (
                    f"no answer within {self.timeout:g} s"
                    if late
                    else f"no connection ({type(getattr(failure, 'reason', failure)).__name__})"
                )
        return reason

    def _score(self, answer: Any) -> float | str:
        if not isinstance(answer, str):
            return "no message in the answer"
        words = re.findall(r"\w+", answer.casefold())
        if words[:1] in (["yes"], ["no"]):
            return float(words[0] == "yes")
        number = answer.strip(" \t\r\n*_`\"'.")
        if _NUMBER.fullmatch(number) and self.lowest <= float(number) <= self.highest:
            return (float(number) - self.lowest) / (self.highest - self.lowest)
        return f"neither yes, no nor a number from {self.lowest:g} to {self.highest:g}"


class _NoRedirect(request.HTTPRedirectHandler):
    """Follows no redirection: it would carry the key to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None makes the redirection an HTTPError."""


def _sent(asked: request.Request, timeout: float) -> bytes:
    """The body of the answer; TimeoutError also where it comes in too slowly."""
    ends = time.monotonic() + timeout
    with request.build_opener(_NoRedirect).open(asked, timeout=timeout) as answer:
        body = b""
        while len(body) <= _LARGEST:
            part = answer.read1(2**16)
            if not part:
                return body
            body += part
            if time.monotonic() > ends:
                raise TimeoutError
    return b""


def _told(refusal: error.HTTPError, headers: dict[str, str]) -> str:
    """What a server says of its refusal, on one line and without the key."""
    try:
        told = json_value(refusal.read(_LARGEST))["error"]["message"]
    except (ValueError, LookupError, TypeError, OSError, HTTPException):
        told = refusal.reason
    key = headers.get("Authorization", "").removeprefix("Bearer ")
    line = " ".join(str(told).split())
    return (line.replace(key, "...") if key else line)[:200]


def _content(body: bytes) -> Any:
    """The text of the first choice; None where the answer has another form."""
    try:
        return json_value(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return None
