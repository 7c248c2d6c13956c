from dataclasses import replace

import pytest

from lens_steer.cli.demo_plan import PLANS, DemoPlan, Rates, Sizes, plan_for
from lens_steer.cli.demo_report import quoted
from lens_steer.models import as_prompt

SIZES = Sizes(
    train=256,
    dev=80,
    dev_prompts=48,
    test=112,
    layers=30,
    width=576,
    example=25.0,
    prompt=15.0,
    new_tokens=40,
    methods=5,
    fitted=5,
    judged=True,
)
RATES = Rates(read=400.0, drawn=250.0)


def test_plans_are_in_order_of_their_work() -> None:
    seconds = [plan.seconds(SIZES, RATES) for plan in PLANS]
    assert seconds == sorted(seconds, reverse=True)


def test_the_plan_is_the_largest_that_fits() -> None:
    seconds = [plan.seconds(SIZES, RATES) for plan in PLANS]
    for plan, takes in zip(PLANS, seconds, strict=True):
        assert plan_for(SIZES, RATES, takes / 60 + 1e-9) is plan
    assert plan_for(SIZES, RATES, None) is PLANS[0]
    with pytest.raises(ValueError, match="0.01, but the smallest demo takes about") as refused:
        plan_for(SIZES, RATES, 0.01)
    asked = float(str(refused.value).split("--minutes ")[2].split(",")[0])
    assert plan_for(SIZES, RATES, asked) is PLANS[-1]
    assert plan_for(SIZES, RATES, 0.01, limit=False) is PLANS[-1]
    assert plan_for(SIZES, RATES, asked + 1, spent=1) is PLANS[-1]


def test_what_is_spent_already_counts_and_the_minutes_that_are_named_are_those_asked_for() -> None:
    takes = PLANS[-1].seconds(SIZES, RATES) / 60
    assert plan_for(SIZES, RATES, takes + 0.5 + 1e-9, spent=0.5) is PLANS[-1]
    with pytest.raises(ValueError, match="got --minutes 0.25, but ") as refused:
        plan_for(SIZES, RATES, 0.25, spent=10)
    asked = float(str(refused.value).split("--minutes ")[2].split(",")[0])
    assert asked >= takes + 10
    assert plan_for(SIZES, RATES, asked, spent=10) is PLANS[-1]


def test_no_plan_counts_more_than_there_is() -> None:
    few = replace(SIZES, train=8, dev=2, test=3, layers=2)
    for plan in PLANS:
        texts = {work.stage: work.texts for work in plan.work(few)}
        assert texts["screen"] == 2
        assert texts["test"] == 2 * (len(plan.levels) + 1) * 3
        assert texts["choose"] == (2 * 3 + 1) * 2 if plan.tried >= 2 else (3 + 1) * 2


@pytest.mark.parametrize("plan", PLANS)
def test_work_grows_with_what_there_is_to_do(plan: DemoPlan) -> None:
    least = plan.seconds(SIZES, RATES)
    for more in ({"new_tokens": 80}, {"methods": 9}, {"judged": False}, {"prompt": 60.0}):
        assert plan.seconds(replace(SIZES, **more), RATES) > least
    assert plan.seconds(replace(SIZES, methods=0), RATES) < least
    assert plan.seconds(SIZES, Rates(800.0, 500.0)) == pytest.approx(least / 2)


def test_the_lines_say_texts_tokens_and_minutes() -> None:
    plan = PLANS[3]
    said = " ".join(plan.lines(SIZES, RATES))
    texts = sum(work.texts for work in plan.work(SIZES))
    assert f"{texts:,.0f} texts" in said
    assert f"about {plan.seconds(SIZES, RATES) / 60:.1f} minutes" in said
    for word in ("screen 8 layers", "20 test prompts", "tokens read", "400 tokens a second"):
        assert word in said


def test_a_chat_is_printed_by_who_says_what() -> None:
    chat = as_prompt([{"role": "user", "content": "It's\nlate."}])
    assert quoted(chat) == 'user: "It\'s\\nlate."'
    assert quoted("a\nb") == "'a\\nb'"
