import json
import shutil
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from lens_steer import organism
from lens_steer.activations import capture
from lens_steer.artifacts import describe, load
from lens_steer.benchmark import SHARES, ModelDefaults, defaults_of
from lens_steer.cli import DemoSettings, demo_plan
from lens_steer.cli import demo_run as demo
from lens_steer.cli.demo_plan import COSTS, LEVELS
from lens_steer.cli.demo_report import DemoReport
from lens_steer.cli.demo_stages import SCREEN_COST, DemoStages, candidate_layers
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import WordList
from lens_steer.models import attach
from lens_steer.steering import CAA
from tests.conftest import without_checks

FILES = {
    *("separability.png", "separability.csv", "separability.json"),
    *("screen.png", "screen.csv", "screen.json"),
    *("sweep.png", "sweep.csv", "sweep.json"),
    *("frontier.png", "frontier.csv", "frontier.json"),
    *("choice.csv", "texts.csv", "table.csv", "table.jsonl", "method.safetensors", "report.html"),
}
METHODS = ("CAA", "SADI")
KEPT = {  # what a demo goes on from
    "demo.json",
    *(
        f"{stage}.safetensors"
        for stage in ("activations", "separability", "cost_texts", "screen", "choice", "sweep")
    ),
    *(f"method-{name}.safetensors" for name in METHODS),
}
SHORT = replace(demo_plan.PLANS[0], settings=2, multiples=(0.5, 1.0))
NOUNS = ("dog", "cat", "sun", "ball", "house", "hat", "car", "kite", "cake", "boat", "bear", "tree")


def write_pairs(folder: Path) -> Path:
    """Both sides end in the same token; prompts of different lengths."""
    rows = [
        {
            "prompt": f"The {noun}" + " was here" * (i % 3),
            "desired": f" lost the {noun}. It was",
            "undesired": f" found a {noun}. It was",
        }
        for i, noun in enumerate(NOUNS)
    ]
    path = folder / "nouns.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Run:
    settings: DemoSettings
    report: DemoReport
    said: list[str]


@pytest.fixture(scope="module")
def runs(model_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """The same run twice, into two folders, the second of which is there and not empty.

    Types and shapes are checked in the first. All of the largest plan, but that methods of the
    table have two settings to choose from and two strengths, not four and three.
    """
    root = tmp_path_factory.mktemp("demo")
    found = []
    (root / "b").mkdir()
    (root / "b" / "mine.txt").write_text("mine")
    for name in ("new/a", "b"):
        settings = DemoSettings(
            model=str(model_dirs["llama"]),
            pairs=str(write_pairs(root)),
            out=root / name,
            seed=2,
            methods=",".join(METHODS),
            words=("a", "e"),
            device="cpu",
            max_new_tokens=4,
            dev_prompts=2,
        )
        said: list[str] = []
        checks = without_checks() if found else nullcontext()
        with pytest.MonkeyPatch.context() as patch, checks:
            patch.setattr(demo_plan, "PLANS", (SHORT,))
            found.append(Run(settings, demo.run(settings, said.append), said))
    return found


@pytest.fixture(scope="module")
def first(runs: list[Run]) -> Run:
    return runs[0]


def test_a_run_writes_every_file_and_nothing_else(runs: list[Run]) -> None:
    assert {path.name for path in runs[0].settings.out.iterdir()} == FILES | KEPT
    assert {path.name for path in runs[1].settings.out.iterdir()} == FILES | KEPT | {"mine.txt"}
    assert (runs[1].settings.out / "mine.txt").read_text() == "mine"


def test_the_report_names_what_it_wrote_and_not_what_was_there(runs: list[Run]) -> None:
    for run in runs:
        (line,) = [line for line in run.said if line.startswith("written")]
        assert all(name in line for name in FILES)
        assert "mine.txt" not in line


def test_the_same_seed_gives_the_same_bytes(runs: list[Run]) -> None:
    for name in FILES | KEPT:
        if not name.endswith(".json"):  # which names the folder
            contents = [(run.settings.out / name).read_bytes() for run in runs]
            assert contents[0] == contents[1], name


def test_the_origin_of_a_figure_is_its_settings_and_model(first: Run, load: Any) -> None:
    for name in ("separability", "sweep"):
        found = json.loads((first.settings.out / f"{name}.json").read_text(encoding="utf-8"))
        assert found["settings"]["seed"] == 2
        assert found["settings"]["pairs"] == first.settings.pairs
        expected = json.loads(json.dumps(asdict(attach(load("llama")).fingerprint)))
        assert found["fingerprint"] == expected


def test_the_tables_on_disk_are_those_of_the_report(first: Run) -> None:
    report, out = first.report, first.settings.out
    tables = {
        "separability": report.separability.table(),
        "sweep": report.sweep.table(),
        "choice": report.choice.table(),
        "texts": report.texts,
    }
    for name, table in tables.items():
        numbers = list(table.select_dtypes("number").columns)  # an empty text is no NaN
        found = pd.read_csv(
            out / f"{name}.csv", keep_default_na=False, na_values=dict.fromkeys(numbers, "")
        )
        pd.testing.assert_frame_equal(found, table, check_dtype=False)


def test_the_method_on_disk_is_the_one_that_was_chosen(first: Run, load_llama: Any) -> None:
    path = first.settings.out / "method.safetensors"
    found = load(path, model=load_llama)
    assert isinstance(found, CAA)
    assert repr(found) == repr(first.report.method) == repr(first.report.choice.method)
    assert torch.equal(found.vectors[0], chosen(first).vectors[0])
    assert describe(path)["content"]["fields"]["provenance"]["fields"]["data"] == "nouns"


@pytest.fixture(scope="module")
def load_llama(load: Any) -> Any:  # the name `load` is the artefacts' here
    return load("llama")


def chosen(run: Run) -> CAA:
    assert isinstance(run.report.method, CAA)
    return run.report.method


def parts_of(run: Run) -> tuple[ContrastivePairs, ...]:
    return ContrastivePairs.load(run.settings.pairs).split(*SHARES, seed=run.settings.seed)


def test_fitting_choosing_and_reporting_use_different_pairs(first: Run, load_llama: Any) -> None:
    train, dev, test = parts_of(first)
    fitted = CAA.fit(
        capture(load_llama, train, "resid", progress=False).at(first.report.method.sites[0].layer)
    )
    assert torch.equal(fitted.vectors[0], chosen(first).vectors[0])
    assert first.report.choice.unsteered.groups == dev.prompts[:2]
    assert first.report.sweep.method[0].groups == test.prompts
    assert first.report.separability.held_out == (len(dev.desired), len(dev.undesired))
    sets = [set(part.prompts) for part in (train, dev, test)]
    assert not (sets[0] & sets[1] | sets[0] & sets[2] | sets[1] & sets[2])


def test_every_layer_is_screened_and_the_best_of_them_write_texts(first: Run) -> None:
    screened, choice = first.report.screen, first.report.choice
    assert [c.sites[0].layer for c in screened.candidates] == [0, 1, 2, 3]
    best = [screened.candidates[i] for i in screened.best(4)]
    strengths = [m.strength * (cost / SCREEN_COST) ** 0.5 for m in best for cost in COSTS]
    assert [c.strength for c in choice.candidates] == pytest.approx(strengths)
    assert [c.sites[0].layer for c in choice.candidates] == [
        m.sites[0].layer for m in best for _ in COSTS
    ]


def test_a_screened_push_costs_what_it_is_to_cost_along_the_texts(
    first: Run, load_llama: Any
) -> None:
    texts = load(first.settings.out / "cost_texts.safetensors", model=load_llama)
    methods = [(method,) for method in first.report.screen.candidates]
    for nats in texts.kl(load_llama, methods):
        assert nats == pytest.approx(SCREEN_COST, rel=0.5)  # a parabola from 0.004 nats on


def test_the_sweep_is_at_the_levels_and_holds_the_choice(first: Run) -> None:
    report = first.report
    assert report.sweep.strengths[0] == report.sweep.reference_strengths[0] == 0
    squares = [strength**2 for strength in report.sweep.strengths[1:]]
    assert [s / squares[-1] for s in squares] == pytest.approx([n / LEVELS[-1] for n in LEVELS])
    assert report.sweep.strengths[report.chosen] == pytest.approx(report.method.strength)
    assert report.sweep.method[0].texts == report.sweep.reference[0].texts
    assert list(report.texts.columns) == ["prompt", "unsteered", "steered"]
    assert tuple(report.texts["steered"]) == report.sweep.method[report.chosen].texts


def run_again(*given: Any) -> Any:
    raise AssertionError("a stage that was kept is run again")


def test_a_demo_that_was_stopped_goes_on_where_it_was(
    first: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untyped: None
) -> None:
    begun = tmp_path / "begun"
    shutil.copytree(first.settings.out, begun)
    rows = (begun / "table.jsonl").read_bytes().splitlines(keepends=True)
    (begun / "table.jsonl").write_bytes(b"".join(rows[:-1]))
    late = ("sweep.safetensors", "sweep.png", "texts.csv", "method-SADI.safetensors", "table.csv")
    for name in late:
        (begun / name).unlink()
    for done in ("read", "screen", "choose"):
        monkeypatch.setattr(DemoStages, done, run_again)
    said: list[str] = []
    demo.run(replace(first.settings, out=begun), said.append)
    for name in FILES | KEPT:
        if not name.endswith(".json"):
            expected = (first.settings.out / name).read_bytes()
            assert (begun / name).read_bytes() == expected, name
    assert any("goes on where it was stopped" in line for line in said)


def test_a_demo_of_something_else_in_the_folder_is_refused(first: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(first.settings.out, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ValueError, match=r"demo of something else \(demo.seed: 2, now 3\)"):
        demo.run(replace(first.settings, out=out, seed=3), print)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_some_layers_and_no_table(first: Run, tmp_path: Path, untyped: None) -> None:
    said: list[str] = []
    settings = replace(first.settings, out=tmp_path, layers=(1, 2), table=False)
    report = demo.run(settings, said.append)
    assert [c.sites[0].layer for c in report.screen.candidates] == [1, 2]
    assert not {"table.csv", "frontier.png", "table.jsonl"} & {p.name for p in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r"layers \[4\]: the model has the layers 0 to 3"):
        demo.run(replace(settings, out=tmp_path / "no", layers=(1, 4)), print)


def test_minutes_that_are_too_few_for_any_text_are_refused_before_any_file(
    first: Run, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"the smallest demo takes about .* at least --minutes"):
        demo.run(replace(first.settings, out=tmp_path / "out", minutes=1e-4), print)
    assert not (tmp_path / "out").exists()


def test_the_report_shows_what_is_read_steered_and_said(first: Run) -> None:
    text = "\n".join(first.said)
    for start in ("model ", "pairs ", "read ", "chosen ", "steered ", "test ", "prompt "):
        assert any(line.startswith(start) for line in first.said), start
    assert "LlamaForCausalLM, 4 layers, d_model 32" in text
    assert "raw weights, float32" in text
    assert "6 desired" not in text  # of the whole set
    assert f"{len(NOUNS)} desired, {len(NOUNS)} undesired" in text
    assert "on 2 dev prompts" in text
    assert "random" in text
    assert repr(first.report.texts["steered"][0]) in text


def test_classes_that_are_equal_at_every_layer_are_refused(
    load_llama: Any, pairs: ContrastivePairs
) -> None:
    found = capture(load_llama, pairs, "resid", read="prompt_last", progress=False)
    with pytest.raises(ValueError, match="equal at every layer read: read another position"):
        candidate_layers(found, None, 4)


# The embedded model.


def test_the_table_of_methods_is_said_and_written(first: Run) -> None:
    table = pd.read_csv(first.settings.out / "table.csv")
    assert table["method"].tolist() == [
        "unsteered",
        "random",
        "random (covariance)",
        "best of n",
        "learned",
        *METHODS,
    ]
    assert table["behaviour"].between(0, 1).all()
    for method in table["method"]:
        assert any(line.strip().startswith(method) for line in first.said), method


def test_greedy_texts_have_no_table_of_methods(first: Run, tmp_path: Path, untyped: None) -> None:
    said: list[str] = []
    demo.run(replace(first.settings, out=tmp_path, temperature=0.0), said.append)
    assert demo.GREEDY in said
    names = {path.name for path in tmp_path.iterdir()}
    assert "sweep.png" in names
    assert not {"frontier.png", "frontier.csv", "frontier.json", "table.csv"} & names


USUAL: dict[str, Any] = asdict(defaults_of("organism"))


def test_the_defaults_of_a_model_are_what_the_help_says() -> None:
    assert defaults_of("organism") == ModelDefaults("organism:sentiment", "mean", 110)
    assert defaults_of("gpt2") == ModelDefaults(
        "stories:sad", "last", 40, 5.0, "CAA,SADI,LQR,ODESteer"
    )


def test_settings_know_their_judge(tmp_path: Path) -> None:
    exact = DemoSettings(model="organism", out=tmp_path, seed=0, **USUAL)
    assert exact.judge == organism.judge("sentiment")
    assert "praise" in exact.behaviour_name
    words = replace(exact, words=("good",))
    assert words.judge == WordList(("good",))
    assert "words" in words.behaviour_name
    file = replace(exact, pairs="pairs.jsonl")
    assert file.judge is None
    assert file.behaviour_name == "share preferring desired"


@pytest.mark.slow
def test_the_demo_of_the_embedded_model_says_what_is_well_formed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untyped: None
) -> None:
    monkeypatch.setattr(demo_plan, "PLANS", demo_plan.PLANS[3:4])
    usual: dict[str, Any] = USUAL | {"methods": "CAA,ODESteer"}
    settings = DemoSettings(
        model="organism",
        out=tmp_path,
        seed=0,
        device="cpu",
        dev_prompts=12,
        layers=(3,),
        **usual,
    )
    said: list[str] = []
    report = demo.run(settings, said.append)
    assert {path.name for path in tmp_path.iterdir()} >= FILES
    assert sum("well formed" in line for line in said) == 3
    table = pd.read_csv(tmp_path / "sweep.csv")
    assert table["well_formed"].between(0, 1).all()
    unsteered, steered = (report.sweep.method[i].share for i in (0, report.chosen))
    assert steered > unsteered + 0.1
    methods = pd.read_csv(tmp_path / "table.csv")["method"].tolist()
    assert methods == ["unsteered", "random", "CAA", "ODESteer"]


def test_a_folder_of_a_comparison_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").write_text("")
    settings = DemoSettings(model="organism", out=tmp_path, seed=0, **USUAL)
    with pytest.raises(ValueError, match="holds a run of lens-steer compare"):
        demo.run(settings, print)
    assert [path.name for path in tmp_path.iterdir()] == ["trials.jsonl"]
