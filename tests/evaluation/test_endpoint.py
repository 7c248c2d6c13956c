"""An endpoint as a judge, against a real server on this machine, also one that misbehaves."""

from collections.abc import Iterator
from typing import Any

import pytest

from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Endpoint, EndpointError, FallibleJudge, evaluate
from tests.evaluation.chat_server import Server, served

KEY = "LENS_STEER_TEST_KEY"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv(KEY, "secret-of-the-test")
    with served() as running:
        yield running


def judge(server: Server, **more: Any) -> Endpoint:
    options = {"key_from": KEY, "timeout": 0.3, "retries": 0, "most_failed": 0.9} | more
    return Endpoint(server.url, "small", "About {prompt}. TEXT:{text}", **options)


def test_answers_become_scores(server: Server) -> None:
    texts = ["yes", "No.", "**Yes**, it is", "NO, never", "1", "0.25", " 0 ", "1."]
    assert judge(server)(["p"] * 8, texts).tolist() == [1, 0, 1, 0, 1, 0.25, 0, 1]
    rated = judge(server, lowest=1, highest=5)
    assert rated(["p"] * 3, ["1", "4", "5"]).tolist() == [0, 0.75, 1]
    assert isinstance(rated, FallibleJudge)


def test_what_is_sent(server: Server) -> None:
    """Braces in texts are left as they are, and the key goes nowhere but into its header."""
    one = judge(server)
    one(["{text} {0}"], ["yes"])
    [(body, headers)] = server.seen
    assert body["model"] == "small"
    assert body["messages"] == [{"role": "user", "content": "About {text} {0}. TEXT:yes"}]
    assert body["temperature"] == 0
    assert headers["path"] == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret-of-the-test"
    assert "secret" not in repr(one) + repr(vars(one))
    judge(server, key_from="")(["p"], ["yes"])
    assert "Authorization" not in server.seen[-1][1]


def test_nonsense_and_failures_count_as_0_with_their_reasons(server: Server) -> None:
    texts = ["yes", "maybe", "7", "8/10", "no json", "no choices", "hang", "drip", "status 500"]
    found = judge(server, parallel=9).judged(["p"] * 10, [*texts, "hang up"])
    assert found.scores.tolist() == [1] + [0] * 9
    assert found.reasons == (
        "",
        *["neither yes, no nor a number from 0 to 1"] * 3,
        *["no message in the answer"] * 2,
        *["no answer within 0.3 s"] * 2,
        "status 500",
        "no connection (RemoteDisconnected)",
    )


def test_too_many_failures_are_an_error_that_says_what_failed(server: Server) -> None:
    with pytest.raises(EndpointError, match=r"2 of 3 texts .* at most 50% \(2 x neither yes"):
        judge(server, most_failed=0.5)(["p"] * 3, ["yes", "perhaps", "well"])
    assert judge(server, most_failed=0.5)(["p"] * 2, ["yes", "perhaps"]).tolist() == [1, 0]
    with pytest.raises(EndpointError, match="1 of 1 texts .*no answer within 0.3 s"):
        judge(server)(["p"], ["hang"])


def test_what_may_pass_is_tried_again_and_what_will_not_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lens_steer.evaluation.endpoint._PAUSE", 0.01)
    assert judge(server, retries=1)(["p"], ["once"]).tolist() == [1]
    server.seen.clear()
    assert judge(server, retries=3).judged(["p", "p"], ["status 429", "yes"]).failed.tolist() == [
        True,
        False,
    ]
    assert len(server.seen) == 5
    for status in ("400", "401", "404"):
        server.seen.clear()
        with pytest.raises(EndpointError, match=f"status {status} .*check url, model, key"):
            judge(server, retries=3)(["p"], [f"status {status}"])
        assert len(server.seen) == 1


def test_a_refusal_is_told_without_the_key(server: Server) -> None:
    with pytest.raises(EndpointError, match=r"status 404 \(no such model for Bearer \.\.\.\)"):
        judge(server)(["p"], ["status 404"])


def test_other_models_take_other_options(server: Server) -> None:
    judge(server, options={"max_completion_tokens": 500})(["p"], ["yes"])
    assert set(server.seen[0][0]) == {"model", "messages", "max_completion_tokens"}


def test_no_redirection_takes_the_key_elsewhere(server: Server) -> None:
    with pytest.raises(EndpointError, match="status 307"):
        judge(server)(["p"], ["elsewhere"])
    assert [headers["path"] for _, headers in server.seen] == ["/v1/chat/completions"]


def test_nothing_is_sent_without_a_key_or_a_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY)
    with pytest.raises(EndpointError, match=f"{KEY} is not set"):
        judge(server)(["p"], ["yes"])
    assert server.seen == []
    closed = Endpoint("http://127.0.0.1:9/v1", "m", "{text}", key_from="", timeout=0.3, retries=0)
    with pytest.raises(EndpointError, match=r"1 x no connection \(ConnectionRefusedError\)"):
        closed(["p"], ["yes"])


def test_it_judges_what_a_model_writes(server: Server, llama: Any, pairs: ContrastivePairs) -> None:
    asks = Endpoint(server.url, "small", "{text} TEXT:yes", key_from=KEY)
    found = evaluate(llama, pairs, judge=asks, max_new_tokens=4, seed=0)
    assert found.share == 1
    assert found.unjudged == ()
    assert len(server.seen) == len(pairs.prompts)


GOOD: dict[str, Any] = {"url": "http://x/v1", "model": "m", "prompt_template": "{text}"}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"url": "file:///etc/passwd"}, "begins with http"),
    ({"url": "x/v1"}, "begins with http"),
    ({"url": "http://me:secret@x/v1"}, "use key_from"),
    ({"url": "http://x/v1?key=secret"}, "use key_from"),
    ({"prompt_template": "Is it rude?"}, r"expected \{text\} in it"),
    ({"lowest": 1, "highest": 1}, "lowest=1 and highest=1"),
    ({"most_failed": 1}, "from 0 to below 1"),
    ({"timeout": 0}, "timeout"),
    ({"retries": -1}, "retries"),
    ({"options": {"stream": True}}, "got options with stream"),
]


@pytest.mark.parametrize(("options", "words"), BAD)
def test_an_endpoint_that_cannot_work_is_refused(
    options: dict[str, Any], words: str, untyped: None
) -> None:
    with pytest.raises(ValueError, match=words) as error:
        Endpoint(**(GOOD | options))
    assert "secret" not in str(error.value)
