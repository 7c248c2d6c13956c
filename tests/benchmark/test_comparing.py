import json
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lens_steer.artifacts import load
from lens_steer.attribution import contrast
from lens_steer.benchmark import (
    FAMILIES,
    Chosen,
    CompareSettings,
    Comparison,
    ComparisonConfig,
    FitCache,
    Journal,
    LayerPrior,
    MethodFamily,
    Trial,
    choose_all,
    families,
    methods_of_draws,
    run_provenance,
    stored,
    thinned,
)
from lens_steer.benchmark import running as comparing
from lens_steer.benchmark.journal import content
from lens_steer.benchmark.method_family import NATS, spaced
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, LocalNats, OutOfReach
from lens_steer.models import load_model
from lens_steer.steering import (
    CAA,
    ITI,
    LQR,
    Ablation,
    Angular,
    LQRTracker,
    RepE,
    ResidualITI,
    generate,
)
from tests.cli.test_cli import ENTRY, Command, command, place, tree
from tests.cli.test_demo import write_pairs

__all__ = ["command", "place"]  # fixtures

CONFIG = ComparisonConfig(
    max_new_tokens=4, multiples=(0.5, 1), randoms=2, budgets=(0.01, 0.05), seed=1
)
FIGURES = [
    f"{name}-nouns.{end}"
    for name in ("frontier", "doses", "energy", "tails")
    for end in ("csv", "json", "png")
]
TABLES = ["differences.csv", "points.csv", "seconds.csv", "table.csv"]
METHODS = ["unsteered", "random", "random (covariance)", "best of n", "learned", "CAA"]


@dataclass(frozen=True)
class Run:
    settings: CompareSettings
    found: Comparison
    said: list[str]


def settings_of(folder: Path, model: Path, **options: Any) -> CompareSettings:
    pairs = str(write_pairs(folder))
    given: dict[str, Any] = {"config": CONFIG, "kl": 0.05, "words": ("a", "e"), "device": "cpu"}
    given |= {"dev_prompts": 2, "out": folder / "out", "methods": "CAA"}  # others join at will
    return CompareSettings(model=str(model), pairs=(pairs,), **given | options)


def start(settings: CompareSettings) -> Run:
    said: list[str] = []
    return Run(settings, comparing.run_comparison(settings, said.append), said)


@pytest.fixture(scope="module")
def first(model_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("compare")
    return start(settings_of(folder, model_dirs["llama"], budget=3, fits=2))


def test_a_run_writes_every_file_and_nothing_else(first: Run) -> None:
    found = sorted(tree(first.settings.out))
    search = ["search.jsonl", *(f"search-nouns.{end}" for end in ("csv", "json", "png"))]
    methods = [f"methods/nouns-CAA{end}" for end in ("-0.safetensors", "-1.safetensors", ".json")]
    assert found == sorted([*FIGURES, *TABLES, *search, *methods, "trials.jsonl"])


def test_a_row_of_the_journal_is_a_trial_with_its_seed_settings_and_versions(first: Run) -> None:
    lines = (first.settings.out / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 1 + 2 * 2 * 2 + 1 + 2 + 2 * 2  # unsteered, randoms, best, learned, fits
    for row in rows:
        assert row["seed"] == 1
        assert row["terms"]["kl"] == 0.05
        assert set(row["terms"]["versions"]) >= {"torch", "transformer-lens", "lens-steer"}
        trial = Trial.of_row(content(row))
        assert trial.evaluation.texts == tuple(row["evaluation"]["texts"])
        assert len(trial.evaluation.texts) == len(trial.evaluation.groups)


def test_the_tables_on_disk_are_those_of_the_comparison(first: Run) -> None:
    table = pd.read_csv(first.settings.out / "table.csv")
    assert table["method"].tolist() == METHODS
    again = Comparison(first.found.trials, CONFIG, {}).table()
    pd.testing.assert_frame_equal(
        table, again.drop(columns="seconds"), check_dtype=False, rtol=1e-6
    )
    seconds = pd.read_csv(first.settings.out / "seconds.csv")
    assert min(seconds["seconds"].tolist()) > 0


def test_a_folder_is_read_again_for_its_tables_and_figures(first: Run, tmp_path: Path) -> None:
    again = comparing.read(first.settings.out)
    assert again.config == CONFIG
    pd.testing.assert_frame_equal(
        again.table().drop(columns="seconds"), first.found.table().drop(columns="seconds")
    )
    with pytest.raises(ValueError, match="no trials in .*expected what lens-steer compare wrote"):
        comparing.read(tmp_path)


def test_the_report_says_what_was_chosen_and_every_method(first: Run) -> None:
    text = "\n".join(first.said)
    assert "chosen   nouns: CAA(" in text
    for method in METHODS:
        assert any(line.strip().startswith(method) for line in first.said), method
    assert "search   nouns: CAA, the best on dev of 3" in text


def test_the_methods_on_disk_cost_on_dev_what_was_asked(first: Run) -> None:
    model = load_model(first.settings.model, device="cpu")
    found = load(first.settings.out / "methods" / "nouns-CAA-0.safetensors", model)
    assert isinstance(found, CAA)
    setting = json.loads((first.settings.out / "methods" / "nouns-CAA.json").read_text())
    assert found.strength == setting["strength"]
    assert found.sites[0].layer == setting["layer"]


def bytes_of(out: Path) -> dict[str, bytes]:
    """All but what names the folder or says how long it took."""
    return {
        name: data
        for name, data in tree(out).items()
        if not name.endswith(".json") and name != "seconds.csv"
    }


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("seed", [1])
def test_a_run_cut_off_anywhere_and_continued_gives_the_same_bytes(
    first: Run, tmp_path: Path, model_dirs: dict[str, Path], seed: int
) -> None:
    settings = settings_of(tmp_path, model_dirs["llama"], budget=3, fits=2)
    settings = replace(settings, pairs=first.settings.pairs)
    (settings.out / "methods").mkdir(parents=True)
    draw = random.Random(seed)
    for name in ("trials.jsonl", "search.jsonl"):
        whole = (first.settings.out / name).read_bytes()
        (settings.out / name).write_bytes(whole[: draw.randrange(len(whole))])
    start(settings)
    assert bytes_of(settings.out) == bytes_of(first.settings.out)


@pytest.mark.slow
def test_a_process_that_is_killed_and_started_again_gives_the_same_bytes(
    tmp_path: Path, model_dirs: dict[str, Path], command: Command
) -> None:
    """The whole run is one of this process, which has imported everything already."""
    pairs = write_pairs(tmp_path)
    arguments = [
        *("compare", "--model", str(model_dirs["llama"]), "--pairs", str(pairs), "--words", "a,e"),
        *("--device", "cpu", "--max-new-tokens", "4", "--dev-prompts", "2", "--kl", "0.05"),
        *("--multiples", "0.5,1", "--methods", "CAA", "--references", "random", "--no-timing"),
        "--out",
    ]
    code, _, err = command(*arguments, tmp_path / "whole")
    assert code == 0, err
    line = [sys.executable, "-c", ENTRY, *arguments, str(tmp_path / "killed")]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = tmp_path / "killed" / "trials.jsonl"
    while process.poll() is None and not (journal.is_file() and journal.stat().st_size):
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(line, check=True, capture_output=True)
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


def test_a_folder_of_another_run_is_refused(first: Run, model_dirs: dict[str, Path]) -> None:
    before = tree(first.settings.out)
    other = replace(first.settings, kl=0.04)
    with pytest.raises(ValueError, match=r"with other settings \(kl: 0.05, now 0.04\)"):
        start(other)
    assert tree(first.settings.out) == before


def kept_by_version_0_1(out: Path, folder: Path) -> Path:
    """A copy of a run with the names that version 0.1 had, and its form."""
    shutil.copytree(out, folder / "old")
    (folder / "old" / "trials.jsonl").unlink()
    rows = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
    journal = Journal(folder / "old" / "trials.jsonl", in_form_2(rows[0]["terms"]))
    for row in rows[:1]:  # the unit of the unsteered model
        old = content(row) | {"found": row["evaluation"]}
        journal.add(row["unit"], [{name: x for name, x in old.items() if name != "evaluation"}])
    for record in (folder / "old" / "methods").glob("*.json"):
        kept = json.loads(record.read_text())
        kept["made_on"]["origin"] = in_form_2(kept["made_on"]["origin"])
        record.write_text(json.dumps(kept))
    return folder / "old"


def in_form_2(terms: dict[str, Any]) -> dict[str, Any]:
    old = {("terms" if name == "config" else name): value for name, value in terms.items()}
    return old | {"form": 2, "versions": old["versions"] | {"lens-steer": "0.1.0"}}


def test_a_run_of_an_earlier_version_is_refused_by_its_number(first: Run, tmp_path: Path) -> None:
    old = kept_by_version_0_1(first.settings.out, tmp_path)
    before, settings = tree(old), replace(first.settings, out=old)
    kept = "kept by lens-steer 0.1.0 in form 2, this version"
    with pytest.raises(ValueError, match=rf"trials.jsonl' was {kept} reads form 5: read it .*$"):
        comparing.read(old)
    with pytest.raises(ValueError, match=rf"trials.jsonl' is of a run .*{kept} keeps form 5\).*$"):
        start(settings)
    assert tree(old) == before
    (old / "trials.jsonl").unlink()
    with pytest.raises(ValueError, match=rf"CAA.json' is of a method .*{kept} keeps form 5\).*$"):
        start(settings)


def test_methods_that_were_made_on_other_settings_are_refused(
    first: Run, tmp_path: Path, model_dirs: dict[str, Path]
) -> None:
    """A run that was stopped before its first trial."""
    own = settings_of(tmp_path, model_dirs["llama"], fits=2)
    shutil.copytree(first.settings.out / "methods", own.out / "methods")
    pairs = Path(own.pairs[0])
    same = replace(own, pairs=first.settings.pairs)
    shown = pairs.read_text(encoding="utf-8")
    changes = {
        r"kl: 0.05, now 0.04": lambda: replace(same, kl=0.04),
        r"config.seed: 1, now 2": lambda: replace(same, config=replace(CONFIG, seed=2)),
        r"data.nouns: SHA-256 \w{8}..., now SHA-256 ": lambda: own,
        r"weights: SHA-256": lambda: replace(same, model=str(model_dirs["qwen2"])),
    }
    pairs.write_text(shown.replace("The", "A", 1), encoding="utf-8")
    before = tree(own.out)
    for reason, settings in changes.items():
        with pytest.raises(ValueError, match=rf"nouns-CAA.json' is of a method made .*{reason}"):
            start(settings())
        assert tree(own.out) == before
    place = own.out / "methods" / "nouns-CAA-1.safetensors"
    place.write_bytes(place.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is not the method that 'nouns-CAA.json' is of"):
        start(same)


def test_pairs_of_one_name_are_not_mixed_up(tmp_path: Path, model_dirs: dict[str, Path]) -> None:
    settings = settings_of(tmp_path, model_dirs["llama"])
    (tmp_path / "other").mkdir()
    again = str(write_pairs(tmp_path / "other"))
    with pytest.raises(ValueError, match="two sets of pairs are called 'nouns'"):
        start(replace(settings, pairs=(*settings.pairs, again)))
    assert not settings.out.exists()


def test_a_larger_budget_adds_to_the_trials_there_are(first: Run, tmp_path: Path) -> None:
    rows = (first.settings.out / "search.jsonl").read_text().splitlines()
    assert len(rows) == 3 * 2
    parts = [json.loads(row)["part"] for row in rows]
    assert parts == ["dev"] * 3 + ["test"] * 3
    table = pd.read_csv(first.settings.out / "search-nouns.csv")
    assert table["n"].tolist() == [1, 2, 3]
    assert table["behaviour"].between(0, 1).all()


# Method families.


def test_the_documentation_states_every_prior() -> None:
    text = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    _, _, part = text.partition("## What each method may try")
    rows = {row.split("`")[1]: row for row in part.splitlines() if row.startswith("| `")}
    assert set(rows) == set(FAMILIES)
    for name, each in FAMILIES.items():
        if isinstance(each.prior, LayerPrior):
            low, high = each.prior.strengths or NATS
            assert f"{low:g} to {high:g}" in rows[name]


def test_every_family_makes_what_it_draws_and_what_its_grid_says(load: Any, pairs: Any) -> None:
    inputs = FitCache(load("llama"), pairs)
    for name, family in FAMILIES.items():
        assert family.name == name
        settings = [*family.grid(inputs), family.draw(inputs, np.random.default_rng(0))]
        for setting in settings:
            json.dumps(setting)
            method = family.make(inputs, setting)
            assert method.strength == pytest.approx(setting.get("strength", 1.0))
        again = family.draw(inputs, np.random.default_rng(0))
        assert again == settings[-1]


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", ["CAA", "ITI", "LQR", "Angular"])
def test_draws_are_made_at_the_strength_of_their_local_nats(
    load: Any, pairs: Any, name: str
) -> None:
    inputs, family = FitCache(load("llama"), pairs), FAMILIES[name]
    texts = FixedTexts.sample(inputs.model, pairs, max_new_tokens=4, seed=0)
    source = np.random.default_rng(1)
    settings = [family.draw(inputs, source) for _ in range(3)]
    settings[0]["nats"] = 0.02
    made = methods_of_draws(family, inputs, settings, texts)
    for method, setting in zip(made, settings, strict=True):
        at_one = family.make(inputs, setting | {"strength": 1.0})
        if "nats" in setting:
            local = LocalNats.along(inputs.model, at_one, texts)
            expected = local.strength_at(setting["nats"])
            assert method.strength == pytest.approx(expected, rel=1e-2)
        else:
            assert method.strength == setting["strength"]
        assert repr(method) == repr(at_one.with_strength(method.strength))
    assert texts.kl(inputs.model, [(made[0],)])[0] == pytest.approx(0.02, rel=0.3)


@pytest.fixture
def contrasts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The shapes of what contrasts are taken of, as they are taken."""
    seen: list[tuple[Any, ...]] = []

    def counted(found: Any) -> Any:
        seen.append((found.kind.value, *found.desired.shape[1:]))
        return contrast(found)

    monkeypatch.setattr("lens_steer.benchmark.fit_cache.contrast", counted)
    return seen


def sizes(inputs: FitCache) -> dict[str, list[tuple[str, int]]]:
    """Kinds and k of SADI's grid, by read position."""
    found: dict[str, list[tuple[str, int]]] = {str(read): [] for read in inputs.reads}
    for setting in FAMILIES["SADI"].grid(inputs):
        found[setting["read"]].append((setting["kind"], setting["k"]))
    return found


def test_sadi_tries_the_sizes_that_a_model_has_each_once(
    load: Any, pairs: Any, contrasts: list[tuple[Any, ...]]
) -> None:
    inputs = FitCache(load("llama"), pairs)  # 4 layers of 4 heads, 48 neurons, 32 dimensions
    there = [("head", 2), ("head", 8), ("neuron", 30), ("mlp_out", 8), ("mlp_out", 64)]
    assert sizes(inputs) == {"mean": there, "last": there}
    for setting in FAMILIES["SADI"].grid(inputs):
        FAMILIES["SADI"].make(inputs, setting)
    own = [("head", 4, 4, 8), ("neuron", 4, 48), ("mlp_out", 4, 32)]
    assert sorted(contrasts) == sorted(own * 2)  # once for each read position


def test_sadi_on_the_embedded_model_tries_all_sizes(embedded: Any) -> None:
    train = ContrastivePairs.load("organism:sentiment").first(4)
    everything = [("head", 2), ("head", 8), ("neuron", 30), ("neuron", 300)]
    everything += [("mlp_out", 8), ("mlp_out", 64)]
    assert sizes(FitCache(embedded, train)) == {"mean": everything, "last": everything}


def test_sadi_draws_only_what_the_model_has(
    load: Any, pairs: Any, contrasts: list[tuple[Any, ...]]
) -> None:
    inputs, source = FitCache(load("llama"), pairs), np.random.default_rng(0)
    drawn = [FAMILIES["SADI"].draw(inputs, source) for _ in range(200)]
    most = {"head": 16, "neuron": 192, "mlp_out": 128}
    for kind, elements in most.items():
        ks = [setting["k"] for setting in drawn if setting["kind"] == kind]
        assert 1 <= min(ks) < elements / 4 < max(ks) <= elements
    assert len(contrasts) == 6


def test_iti_draws_heads_and_nats(load: Any, pairs: Any) -> None:
    inputs, source = FitCache(load("llama"), pairs), np.random.default_rng(0)
    drawn = [FAMILIES["ITI"].draw(inputs, source) for _ in range(200)]
    nats = [setting["nats"] for setting in drawn]
    assert 0.003 <= min(nats) < 0.004 < 0.8 < max(nats) <= 1
    assert {setting["k"] for setting in drawn} == set(range(1, 9))  # of 16 heads


@pytest.mark.parametrize("name", ["LQR", "LQRTracker"])
def test_regulators_lead_to_the_set_points_of_their_settings(
    load: Any, pairs: Any, name: str
) -> None:
    inputs, family = FitCache(load("llama"), pairs), FAMILIES[name]
    for setting in family.grid(inputs):
        assert family.make(inputs, setting).strength == 1.0
        assert family.make(inputs, setting | {"strength": 0.3}).strength == 0.3
    assert len(family.grid(inputs)) == 6
    far = family.make(inputs, {"read": "mean", "setpoint": 2.0, "control_cost": 0.5})
    own = {"LQR": LQR.fit, "LQRTracker": LQRTracker.fit}[name]
    options = {"covariance_effort": True} if name == "LQRTracker" else {}
    resid, jacobians = inputs.activations("mean"), inputs.jacobians(dense=True)
    same: Any = own(jacobians, resid, setpoint=2.0, control_cost=0.5, **options)
    assert generate(inputs.model, pairs.prompts, far, seed=0) == generate(
        inputs.model, pairs.prompts, same, seed=0
    )
    source = np.random.default_rng(0)
    drawn = [family.draw(inputs, source) for _ in range(100)]
    assert {setting["read"] for setting in drawn} == {"mean", "last"}
    assert all(0.5 < setting["setpoint"] < 8 for setting in drawn)
    assert all(0.3 < setting["control_cost"] < 10 for setting in drawn)


LAYERED = ("RepE", "ResidualITI", "Ablation", "Angular")


@pytest.mark.parametrize("name", [*LAYERED, "ITI"])
def test_baselines_have_few_settings_and_make_what_they_say(
    load: Any, pairs: Any, name: str
) -> None:
    inputs, family = FitCache(load("llama"), pairs), FAMILIES[name]
    grid = family.grid(inputs)
    assert 0 < len(grid) <= 12
    assert {each["read"] for each in grid} == {"mean", "last"}
    setting = {"read": "last", "strength": 0.5} | ({"k": 3} if name == "ITI" else {"layer": 2})
    resid, heads = inputs.activations("last"), inputs.activations("last", "head")
    quarter = float(0.25 * resid.at(2).undesired.norm(dim=1).median())
    by_hand: dict[str, Any] = {
        "RepE": lambda: RepE.fit(resid.at(2)),
        "ResidualITI": lambda: ResidualITI.fit(resid.at(2), length=quarter),
        "Ablation": lambda: Ablation.fit(resid, layer=2),
        "Angular": lambda: Angular.fit(resid.at(2), to_angle=0.0),
        "ITI": lambda: ITI.fit(heads, k=3, groups=pairs.groups, folds=5, seed=0),
    }
    found, expected = family.make(inputs, setting), by_hand[name]()
    if name == "RepE":
        expected = replace(expected, coefficient=quarter / expected.gap)
    assert repr(found) == repr(expected.with_strength(0.5))
    if name in ("RepE", "ResidualITI"):
        size = found.vector_field(resid.desired[0, 2]).norm()  # type: ignore[attr-defined]
        assert float(size) == pytest.approx(quarter, rel=1e-5)
    drawn = [family.draw(inputs, np.random.default_rng(i)) for i in range(50)]
    share = name in ("Ablation", "Angular")  # of the whole way
    knob, low, high = ("strength", 0.1, 1.0) if share else ("nats", *NATS)
    assert all(low <= each[knob] <= high for each in drawn)
    assert len({json.dumps(each) for each in drawn}) == 50


def test_grids_of_deep_models_are_thinned_evenly() -> None:
    layers = [{"layer": layer} for layer in range(32)]
    found = [each["layer"] for each in spaced(layers, 6)]
    assert found == [0, 6, 12, 19, 25, 31]
    assert spaced(layers[:4], 6) == layers[:4]


def test_probes_of_heads_are_fitted_once_and_never_part_a_group(load: Any, pairs: Any) -> None:
    inputs = FitCache(load("llama"), pairs)
    assert inputs.head_accuracies("mean") is inputs.head_accuracies("mean")
    loose = ContrastivePairs(pairs.desired, pairs.undesired[:4], paired=False)
    assert inputs.head_accuracies("last").values.shape == (4, 4)
    assert FitCache(load("llama"), loose).head_accuracies("last").values.shape == (4, 4)


# One strength, one direction, and no other row.
ONE = replace(CONFIG, multiples=(1.0,), randoms=1, references=("random",), timed=False)


def test_baselines_are_compared_where_they_are_asked_for(
    model_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untyped: None
) -> None:
    names = (*LAYERED, "ITI")
    for name in names:
        monkeypatch.setitem(FAMILIES, name, thinned(FAMILIES[name], 4))
    settings = settings_of(tmp_path, model_dirs["llama"], methods=",".join(names), config=ONE)
    done = start(settings)
    left = [line for line in done.said if line.startswith("left out")]
    table = done.found.table()["method"].tolist()
    assert len(left) + len(set(table) & set(names)) == len(names)
    assert len(left) < 2, left


def test_jacobians_are_taken_once(load: Any, pairs: Any) -> None:
    inputs = FitCache(load("llama"), pairs)
    products = inputs.jacobians(dense=False)
    assert inputs.jacobians(dense=False) is products
    dense = inputs.jacobians(dense=True)
    assert dense.matrices is not None
    assert inputs.jacobians(dense=False) is dense


def test_barriers_of_few_pairs_have_the_papers_settings(load: Any, pairs: Any) -> None:
    few = FitCache(load("llama"), pairs.first(6)).barrier("mean", 1)
    assert (few.settings["gamma"], few.settings["C"]) == (0.1, 1.0)
    assert "held_out_loss" not in few.settings


def tiny_caa(cache: FitCache, setting: Any) -> Any:
    method: Any = FAMILIES["CAA"].make(cache, setting)
    return replace(method, vectors=tuple(0 * v for v in method.vectors))


WEAK = replace(FAMILIES["CAA"], name="weak", make=tiny_caa)  # pushes by nothing at any strength


def test_a_method_that_cannot_cost_so_much_is_left_out_and_named(
    model_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untyped: None
) -> None:
    for family in (FAMILIES["CAA"], WEAK):
        monkeypatch.setitem(FAMILIES, family.name, thinned(family, 2))
    done = start(settings_of(tmp_path, model_dirs["llama"], methods="CAA,weak", config=ONE))
    (line,) = [line for line in done.said if line.startswith("left out")]
    assert "weak cannot be calibrated" in line
    assert done.found.table()["method"].tolist() == ["unsteered", "random", "CAA"]
    with pytest.raises(OutOfReach, match="no method costs"):
        start(settings_of(tmp_path, model_dirs["llama"], methods="weak", out=tmp_path / "none"))


def test_one_loop_chooses_makes_and_says_what_is_missing(load: Any, pairs: Any) -> None:
    cache, said = FitCache(load("llama"), pairs, ("last",)), list[str]()
    config = replace(CONFIG, max_new_tokens=3)
    known = {"RepE": {"layer": 1, "read": "last", "strength": 0.5}}
    kinds = [FAMILIES["CAA"], WEAK, FAMILIES["RepE"]]
    few = [thinned(family, 1) for family in kinds]
    how: dict[str, Any] = {"kl": 0.05, "config": config, "settings": known, "echo": said.append}
    chosen = choose_all(few, cache, pairs.first(2), None, **how)
    assert isinstance(chosen, Chosen)
    assert list(chosen.methods) == ["CAA", "RepE"]
    assert chosen.settings["RepE"] == known["RepE"]
    for name in chosen.methods:
        again = FAMILIES[name].make(cache, chosen.settings[name])
        assert repr(chosen.methods[name]) == repr(again) == repr(chosen.fits[name][0])
    assert list(chosen.missing) == ["weak"]
    assert said == [f"left out {pairs.name}: {chosen.missing['weak']}"]
    with pytest.raises(OutOfReach, match="no method costs 0.05 nats per token on"):
        choose_all([thinned(WEAK, 1)], cache, pairs.first(2), None, kl=0.05, config=config)


def test_a_family_is_a_name_and_two_functions(load: Any, pairs: Any) -> None:
    cache = FitCache(load("llama"), pairs)
    family = MethodFamily(
        name="mine",
        make=lambda cache, setting: CAA.fit(cache.layer({"read": "mean", "layer": setting["at"]})),
        grid=lambda _: [{"at": layer} for layer in range(4)],
    )
    assert family.make(cache, {"at": 2}).strength == 1
    method = family.make(cache, {"at": 2, "strength": 0.25})
    own = CAA.fit(cache.activations("mean").at(2)).with_strength(0.25)
    assert repr(method) == repr(own)
    with pytest.raises(ValueError, match="mine has no prior to draw from"):
        family.draw(cache, np.random.default_rng(0))
    few = thinned(family, 2)
    assert few.grid(cache) == [{"at": 1}, {"at": 3}]
    assert thinned(family, 9).grid(cache) == family.grid(cache)
    assert few.make(cache, {"at": 2, "strength": 0.25}).strength == 0.25


def test_families_are_called_by_name() -> None:
    assert [each.name for each in families("all")] == list(FAMILIES)
    usual = ["CAA", "SADI", "LQR", "LQRTracker", "ODESteer"]
    assert [each.name for each in families()] == [each.name for each in families(None)] == usual
    assert all(isinstance(each, MethodFamily) for each in families("CAA"))
    with pytest.raises(ValueError, match="unknown methods .*'none'.*expected all, or some of CAA"):
        families("CAA, none")


def test_stored_settings_are_for_the_texts_they_were_found_on() -> None:
    config = ComparisonConfig(temperature=0.7, max_new_tokens=110)
    assert stored("organism", "organism:sentiment", "CAA", config)
    others: list[dict[str, Any]] = [{"seed": 1}, {"temperature": 1.0}, {"stop": ["."]}]
    for other in (replace(config, **changed) for changed in others):
        assert stored("organism", "organism:sentiment", "CAA", other) is None
    assert stored("gpt2", "organism:sentiment", "CAA", config) is None
    assert stored("organism", "organism:sentiment", "none", config) is None


# Misuse.

MISUSE: dict[str, tuple[list[str], str]] = {
    "unknown method": (["--methods", "magic"], "unknown methods .*magic.*CAA"),
    "words for numbers": (
        ["--multiples", "one,two"],
        "--multiples.* got 'one,two', expected positive",
    ),
    "falling budgets": (["--budgets", "0.3,0.1"], "budgets.*rising order"),
    "no strength": (["--multiples", "0,1"], "multiples.*positive"),
    "greedy": (["--temperature", "0"], "--temperature.* got '0'.*divergence"),
    "free": (["--kl", "0"], "--kl.* got '0', expected nats"),
    "best of one": (["--best-of", "1"], "best-of"),
    "missing pairs": (["--pairs", "{}/no.jsonl"], "no file .*no.jsonl"),
    "no pairs": (["--pairs", ","], "pairs"),
    "unpaired without words": (["--pairs", "{}/unpaired.jsonl"], "words"),
    "out is a file": (["--out", "{}/taken"], "taken"),
    "too long": (["--max-new-tokens", "127"], "context holds 128"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_one_line_and_code_2_and_leaves_nothing(
    name: str, place: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = tree(place)
    arguments, reason = MISUSE[name]
    given = ["--model", "{}/model", *arguments]
    if "--pairs" not in given:
        given += ["--pairs", "{}/nouns.jsonl"]
    code, _, err = command("compare", *(argument.format(place) for argument in given))
    lines = [line for line in err.split("\n") if line and "\r" not in line]
    assert (code, len(lines)) == (2, 1), err
    import re

    assert re.search(reason, lines[0]), lines[0]
    assert tree(place) == before


def test_help_lists_every_option_with_a_description(command: Command) -> None:
    code, out, _ = command("compare", "--help")
    assert code == 0
    for word in ("--budget", "--fits", "--kl", "--seed", "--out", "trials.jsonl", "seconds.csv"):
        assert word in out


def test_it_does_not_matter_where_a_file_of_pairs_lies(tmp_path: Path, load: Any) -> None:
    marks = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        settings = settings_of(folder, Path("llama"))
        sources = [ContrastivePairs.load(name) for name in settings.pairs]
        marks.append(run_provenance(load("llama"), settings, sources))
    assert marks[0] == marks[1]
