import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from lens_steer import organism
from lens_steer.activations import capture
from lens_steer.artifacts import describe, load
from lens_steer.benchmark import DEFAULT_METHODS, SHARES, ModelDefaults, defaults_of
from lens_steer.cli import DemoSettings
from lens_steer.cli import demo_run as demo
from lens_steer.cli.demo_report import DemoReport
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import WordList
from lens_steer.models import attach
from lens_steer.steering import CAA

FILES = {
    *("separability.png", "separability.csv", "separability.json"),
    *("sweep.png", "sweep.csv", "sweep.json"),
    *("frontier.png", "frontier.csv", "frontier.json"),
    *("choice.csv", "texts.csv", "table.csv", "method.safetensors"),
}
# A random model's perplexity jumps at pushes that a trained one bears: these it bears.
SMALL = (0.0, 0.01, 0.03)
# Float32 norms and medians.
SIZE = 1e-4
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
def runs(
    model_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Run]]:
    """The same run twice, into two folders, the second of which is there and not empty."""
    root = tmp_path_factory.mktemp("demo")
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "SIZES", SMALL)
        (root / "b").mkdir()
        (root / "b" / "mine.txt").write_text("mine")
        for name in ("new/a", "b"):
            settings = DemoSettings(
                model=str(model_dirs["llama"]),
                pairs=str(write_pairs(root)),
                out=root / name,
                seed=2,
                words=("a", "e"),
                device="cpu",
                max_new_tokens=4,
                dev_prompts=2,
            )
            said: list[str] = []
            found.append(Run(settings, demo.run(settings, said.append), said))
        yield found


@pytest.fixture(scope="module")
def first(runs: list[Run]) -> Run:
    return runs[0]


def test_a_run_writes_every_file_and_nothing_else(runs: list[Run]) -> None:
    assert {path.name for path in runs[0].settings.out.iterdir()} == FILES
    assert {path.name for path in runs[1].settings.out.iterdir()} == {*FILES, "mine.txt"}
    assert (runs[1].settings.out / "mine.txt").read_text() == "mine"


def test_the_report_names_what_it_wrote_and_not_what_was_there(runs: list[Run]) -> None:
    for run in runs:
        (line,) = [line for line in run.said if line.startswith("written")]
        assert all(name in line for name in FILES)
        assert "mine.txt" not in line


def test_the_same_seed_gives_the_same_bytes(runs: list[Run]) -> None:
    for name in FILES:
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
        found = pd.read_csv(out / f"{name}.csv", keep_default_na=False)
        pd.testing.assert_frame_equal(found, table, check_dtype=False)


def test_the_method_on_disk_is_the_one_that_was_chosen(first: Run, load_llama: Any) -> None:
    path = first.settings.out / "method.safetensors"
    found = load(path, model=load_llama)
    assert isinstance(found, CAA)
    assert repr(found) == repr(first.report.method) == repr(first.report.choice.method)
    assert torch.equal(found.vectors[0], first.report.method.vectors[0])
    assert describe(path)["content"]["fields"]["provenance"]["fields"]["data"] == "nouns"


@pytest.fixture(scope="module")
def load_llama(load: Any) -> Any:  # the name `load` is the artefacts' here
    return load("llama")


def parts_of(run: Run) -> tuple[ContrastivePairs, ...]:
    return ContrastivePairs.load(run.settings.pairs).split(*SHARES, seed=run.settings.seed)


def test_fitting_choosing_and_reporting_use_different_pairs(first: Run, load_llama: Any) -> None:
    train, dev, test = parts_of(first)
    fitted = CAA.fit(
        capture(load_llama, train, "resid", progress=False).at(first.report.method.sites[0].layer)
    )
    assert torch.equal(fitted.vectors[0], first.report.method.vectors[0])
    assert first.report.choice.unsteered.groups == dev.prompts[:2]
    assert first.report.sweep.method[0].groups == test.prompts
    assert first.report.separability.held_out == (len(dev.desired), len(dev.undesired))
    sets = [set(part.prompts) for part in (train, dev, test)]
    assert not (sets[0] & sets[1] | sets[0] & sets[2] | sets[1] & sets[2])


def test_every_layer_is_tried_at_every_size(first: Run, load_llama: Any) -> None:
    candidates = first.report.choice.candidates
    assert [c.sites[0].layer for c in candidates] == [i for i in range(4) for _ in SMALL[1:]]
    train = capture(load_llama, parts_of(first)[0], "resid", progress=False)
    for i, method in enumerate(candidates):
        assert isinstance(method, CAA)
        layer = method.sites[0].layer
        typical = train.at(layer).undesired.norm(dim=-1).median().item()
        pushed = method.strength * method.vectors[0].norm().item()
        assert pushed / typical == pytest.approx(SMALL[1:][i % 2], rel=SIZE)


def test_the_sweep_is_at_the_sizes_and_holds_the_choice(first: Run) -> None:
    report = first.report
    assert report.sweep.relative == SMALL
    assert report.sweep.strengths[0] == 0
    assert report.sweep.strengths[report.chosen] == pytest.approx(report.method.strength, rel=SIZE)
    assert report.sweep.method[0].texts == report.sweep.reference[0].texts
    assert list(report.texts.columns) == ["prompt", "unsteered", "steered"]
    assert tuple(report.texts["steered"]) == report.sweep.method[report.chosen].texts


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
        demo.sized_candidates(found, (0.1,))


# The embedded model.


def test_the_table_of_methods_is_said_and_written(first: Run) -> None:
    table = pd.read_csv(first.settings.out / "table.csv")
    assert table["method"].tolist() == [
        "unsteered",
        "random",
        "best of n",
        "learned",
        *DEFAULT_METHODS,
    ]
    assert table["behaviour"].between(0, 1).all()
    for method in table["method"]:
        assert any(line.strip().startswith(method) for line in first.said), method


def test_greedy_texts_have_no_table_of_methods(first: Run, tmp_path: Path) -> None:
    said: list[str] = []
    demo.run(replace(first.settings, out=tmp_path, temperature=0.0), said.append)
    assert demo.GREEDY in said
    missing = {"frontier.png", "frontier.csv", "frontier.json", "table.csv"}
    assert {path.name for path in tmp_path.iterdir()} == FILES - missing


USUAL: dict[str, Any] = asdict(defaults_of("organism"))


def test_the_defaults_of_a_model_are_what_the_help_says() -> None:
    assert defaults_of("organism") == ModelDefaults("organism:sentiment", "mean", 110)
    assert defaults_of("gpt2") == ModelDefaults("stories:sad", "last", 40)


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "SIZES", (0.0, 0.5))
    settings = DemoSettings(
        model="organism",
        out=tmp_path,
        seed=0,
        methods="CAA,ODESteer",
        device="cpu",
        dev_prompts=12,
        **USUAL,
    )
    said: list[str] = []
    report = demo.run(settings, said.append)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert sum("well formed" in line for line in said) == 3
    table = pd.read_csv(tmp_path / "sweep.csv")
    assert table["well_formed"].between(0, 1).all()
    unsteered, steered = (trial.behaviour.mean() for trial in report.sweep.method)
    assert steered > unsteered + 0.1
    methods = pd.read_csv(tmp_path / "table.csv")["method"].tolist()
    assert methods == ["unsteered", "random", "best of n", "learned", "CAA", "ODESteer"]


def test_a_folder_of_a_comparison_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").write_text("")
    settings = DemoSettings(model="organism", out=tmp_path, seed=0, **USUAL)
    with pytest.raises(ValueError, match="holds a run of lens-steer compare"):
        demo.run(settings, print)
    assert [path.name for path in tmp_path.iterdir()] == ["trials.jsonl"]
