"""Comparing methods: what they do, what it costs, and whether the difference is real.

`published_data` reads published benchmarks. `config` says how texts are written; `fit_cache`,
`method_family` and `method_families` how each method is made and which settings it may try;
`choosing` takes the best of them on dev at one cost, and `kept_methods` keeps it.
`comparison_run` runs methods (`method_names`), `references` and a `learned` vector as `trials`;
`grouped_sums`, `statistics` and `quantities` turn these into numbers with intervals, and `result`
into the tables of a `Comparison`. `frontier`, `doses` and `dose_response`, `energy`, `tails` and
`specificity` are its figures. `settings`, `journal` and `running` are `lens-steer compare`, which
keeps every trial; `random_search` and `searching` say what more trials would be worth.
`answer_controls` are what a score of multiple choice stands beside, the bias of each answer
(`answer_bias`) among them; `answer_run` makes an `answer_table` of a published file.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.benchmark.answer_bias import AnswerBias as AnswerBias
from lens_steer.benchmark.answer_controls import answer_controls as answer_controls
from lens_steer.benchmark.answer_controls import shortest_answer as shortest_answer
from lens_steer.benchmark.answer_controls import with_another_question as with_another_question
from lens_steer.benchmark.answer_controls import with_instruction as with_instruction
from lens_steer.benchmark.answer_controls import without_question as without_question
from lens_steer.benchmark.answer_run import run as run
from lens_steer.benchmark.answer_table import AnswerTable as AnswerTable
from lens_steer.benchmark.choosing import Chosen as Chosen
from lens_steer.benchmark.choosing import calibrated_best as calibrated_best
from lens_steer.benchmark.choosing import choose_all as choose_all
from lens_steer.benchmark.choosing import choose_and_keep as choose_and_keep
from lens_steer.benchmark.choosing import stored as stored
from lens_steer.benchmark.comparing import compare as compare
from lens_steer.benchmark.comparing import comparison as comparison
from lens_steer.benchmark.comparing import time_generation as time_generation
from lens_steer.benchmark.comparison_run import ComparisonRun as ComparisonRun
from lens_steer.benchmark.config import KL as KL
from lens_steer.benchmark.config import REFERENCES as REFERENCES
from lens_steer.benchmark.config import SHARES as SHARES
from lens_steer.benchmark.config import ComparisonConfig as ComparisonConfig
from lens_steer.benchmark.config import References as References
from lens_steer.benchmark.config import SeveralTexts as SeveralTexts
from lens_steer.benchmark.dose_response import DoseResponse as DoseResponse
from lens_steer.benchmark.doses import collapse_dose as collapse_dose
from lens_steer.benchmark.draws import methods_of_draws as methods_of_draws
from lens_steer.benchmark.energy import EnergyMap as EnergyMap
from lens_steer.benchmark.fit_cache import FitCache as FitCache
from lens_steer.benchmark.fit_cache import Hyperparameters as Hyperparameters
from lens_steer.benchmark.frontier import Frontier as Frontier
from lens_steer.benchmark.journal import Journal as Journal
from lens_steer.benchmark.journal import content as content
from lens_steer.benchmark.journal import differing as differing
from lens_steer.benchmark.journal import kept_rows as kept_rows
from lens_steer.benchmark.kept_methods import read_setting as read_setting
from lens_steer.benchmark.learned import learn as learn
from lens_steer.benchmark.method_families import DEFAULT_METHODS as DEFAULT_METHODS
from lens_steer.benchmark.method_families import FAMILIES as FAMILIES
from lens_steer.benchmark.method_families import families as families
from lens_steer.benchmark.method_family import LayerPrior as LayerPrior
from lens_steer.benchmark.method_family import Make as Make
from lens_steer.benchmark.method_family import MethodFamily as MethodFamily
from lens_steer.benchmark.method_family import layer_grid as layer_grid
from lens_steer.benchmark.method_family import one_layer as one_layer
from lens_steer.benchmark.method_family import regulator as regulator
from lens_steer.benchmark.method_family import regulator_weights as regulator_weights
from lens_steer.benchmark.method_family import thinned as thinned
from lens_steer.benchmark.published_data import load as load
from lens_steer.benchmark.random_search import RandomSearchCurve as RandomSearchCurve
from lens_steer.benchmark.references import Rewrite as Rewrite
from lens_steer.benchmark.references import best_of_n as best_of_n
from lens_steer.benchmark.references import instructed as instructed
from lens_steer.benchmark.references import prompted as prompted
from lens_steer.benchmark.result import Comparison as Comparison
from lens_steer.benchmark.running import read as read
from lens_steer.benchmark.running import resume as resume
from lens_steer.benchmark.running import run_comparison as run_comparison
from lens_steer.benchmark.running import summary_lines as summary_lines
from lens_steer.benchmark.searching import BASELINE as BASELINE
from lens_steer.benchmark.searching import search as search
from lens_steer.benchmark.settings import DEV_PROMPTS as DEV_PROMPTS
from lens_steer.benchmark.settings import Behaviour as Behaviour
from lens_steer.benchmark.settings import CompareSettings as CompareSettings
from lens_steer.benchmark.settings import ModelDefaults as ModelDefaults
from lens_steer.benchmark.settings import defaults_of as defaults_of
from lens_steer.benchmark.settings import made_on as made_on
from lens_steer.benchmark.settings import run_provenance as run_provenance
from lens_steer.benchmark.settings import split_for as split_for
from lens_steer.benchmark.specificity import Specificity as Specificity
from lens_steer.benchmark.statistics import holm as holm
from lens_steer.benchmark.statistics import sign_flip as sign_flip
from lens_steer.benchmark.tails import CostTails as CostTails
from lens_steer.benchmark.trials import FixedCosts as FixedCosts
from lens_steer.benchmark.trials import Trial as Trial

_check_room(globals())
