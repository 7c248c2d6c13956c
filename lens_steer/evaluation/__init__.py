"""Evaluation: what a steering method does to prompts, what that costs, and which one to take.

A judge (`judges.py`, on words in any script from `words.py`) says whether a text shows a behaviour:
an exact or refused answer (`answer_judges.py`), the form of a text (`grammar_judges.py`, by
`english_forms.py`), a classifier fitted to texts (`text_classifier.py`) whose errors are corrected
for (`error_rates.py`), or a model behind an endpoint (`endpoint.py`). Without one, a pair does if
its desired continuation is likelier (`likelihood.py`). Multiple choice is scored by likelihood
(`choice_metrics.py`, `choice_scores.py`), and two fixed answers also without their bias
(`binary_metrics.py`, `binary_scores.py`). Costs are nats
between steered and unsteered model (`divergence.py`), along the method's own texts
(`sampled_texts.py`, `text_costs.py`) or along fixed unsteered ones (`fixed_texts.py`), and sizes of
edits (`edits.py`), which random directions can match (`random_control.py`). `evaluate`
(`evaluating.py`) puts both together as `Evaluation` (`result.py`).

What came out is a `Generation` (`generated_texts.py`) of texts with numbers for every token
(`generated_text.py`), which `generation` (`generating.py`) reads along finished texts
(`token_numbers.py`), shown in colour (`coloured_texts.py`, `token_colours.py`), and at several
strengths next to each other (`strengths_side_by_side.py`).

Choices of questions are scored by their likelihood under many settings at once
(`answer_likelihoods.py`; `answer_reading.py`, `shared_prefixes.py` and `setting_rows.py` run once
what choices and settings share), and cost nats off the task and on it (`answer_costs.py`).

On it stand `LocalNats`: what a method costs per squared strength (`local_nats.py`); `calibrate`:
the strength of a stated cost (`calibration.py`, `crossing.py`); `choose`: the best of many
candidates (`choosing.py`); `sweep`: a method at many strengths (`sweeping.py`).
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.evaluation.answer_judges import REFUSALS as REFUSALS
from lens_steer.evaluation.answer_judges import ExactMatch as ExactMatch
from lens_steer.evaluation.answer_judges import RefusalPhrases as RefusalPhrases
from lens_steer.evaluation.answer_judges import normalised_answer as normalised_answer
from lens_steer.evaluation.answer_likelihoods import AnswerLikelihoods as AnswerLikelihoods
from lens_steer.evaluation.answer_likelihoods import answer_log_probs as answer_log_probs
from lens_steer.evaluation.binary_metrics import AnswerThreshold as AnswerThreshold
from lens_steer.evaluation.binary_metrics import auc as auc
from lens_steer.evaluation.binary_metrics import balanced_accuracy as balanced_accuracy
from lens_steer.evaluation.binary_metrics import d_prime as d_prime
from lens_steer.evaluation.binary_scores import BinaryScores as BinaryScores
from lens_steer.evaluation.calibration import calibrate as calibrate
from lens_steer.evaluation.calibration import calibrate_along as calibrate_along
from lens_steer.evaluation.calibration import check_applicable as check_applicable
from lens_steer.evaluation.choice_metrics import answer_mass as answer_mass
from lens_steer.evaluation.choice_metrics import choice_accuracy as choice_accuracy
from lens_steer.evaluation.choice_metrics import choice_margins as choice_margins
from lens_steer.evaluation.choice_metrics import letter_bias as letter_bias
from lens_steer.evaluation.choice_metrics import mc1 as mc1
from lens_steer.evaluation.choice_metrics import mc1_chance as mc1_chance
from lens_steer.evaluation.choice_metrics import mc2 as mc2
from lens_steer.evaluation.choice_scores import ChoiceScores as ChoiceScores
from lens_steer.evaluation.choosing import Choice as Choice
from lens_steer.evaluation.choosing import choose as choose
from lens_steer.evaluation.choosing import well_formed_rate as well_formed_rate
from lens_steer.evaluation.crossing import CalibrationReport as CalibrationReport
from lens_steer.evaluation.crossing import OutOfReach as OutOfReach
from lens_steer.evaluation.crossing import find_crossing as find_crossing
from lens_steer.evaluation.divergence import best_of_n_kl as best_of_n_kl
from lens_steer.evaluation.divergence import binary_kl as binary_kl
from lens_steer.evaluation.divergence import efficiencies as efficiencies
from lens_steer.evaluation.divergence import efficiency as efficiency
from lens_steer.evaluation.divergence import kl_divergence as kl_divergence
from lens_steer.evaluation.divergence import least_nats as least_nats
from lens_steer.evaluation.edits import EditSizes as EditSizes
from lens_steer.evaluation.endpoint import Endpoint as Endpoint
from lens_steer.evaluation.endpoint import EndpointError as EndpointError
from lens_steer.evaluation.error_rates import ErrorRates as ErrorRates
from lens_steer.evaluation.evaluating import check_scorable as check_scorable
from lens_steer.evaluation.evaluating import evaluate as evaluate
from lens_steer.evaluation.evaluating import evaluate_each as evaluate_each
from lens_steer.evaluation.evaluating import evaluation_of as evaluation_of
from lens_steer.evaluation.fixed_texts import FixedTexts as FixedTexts
from lens_steer.evaluation.generated_text import GeneratedText as GeneratedText
from lens_steer.evaluation.generated_texts import Generation as Generation
from lens_steer.evaluation.generating import generation as generation
from lens_steer.evaluation.generating import side_by_side as side_by_side
from lens_steer.evaluation.grammar_judges import FirstPerson as FirstPerson
from lens_steer.evaluation.grammar_judges import IsQuestion as IsQuestion
from lens_steer.evaluation.grammar_judges import PastTense as PastTense
from lens_steer.evaluation.judges import FallibleJudge as FallibleJudge
from lens_steer.evaluation.judges import FormJudge as FormJudge
from lens_steer.evaluation.judges import Judge as Judge
from lens_steer.evaluation.judges import Judgement as Judgement
from lens_steer.evaluation.judges import WordList as WordList
from lens_steer.evaluation.judges import judge_of as judge_of
from lens_steer.evaluation.judges import judgement_of as judgement_of
from lens_steer.evaluation.judges import scores_of as scores_of
from lens_steer.evaluation.likelihood import log_probabilities as log_probabilities
from lens_steer.evaluation.likelihood import perplexity as perplexity
from lens_steer.evaluation.likelihood import preference as preference
from lens_steer.evaluation.likelihood import second_model_perplexity as second_model_perplexity
from lens_steer.evaluation.local_nats import LocalNats as LocalNats
from lens_steer.evaluation.local_nats import NotLocal as NotLocal
from lens_steer.evaluation.nats_of_answers import AnswerCosts as AnswerCosts
from lens_steer.evaluation.nats_of_answers import answer_costs as answer_costs
from lens_steer.evaluation.nats_of_answers import choices_kl as choices_kl
from lens_steer.evaluation.nats_of_answers import least_choices_kl as least_choices_kl
from lens_steer.evaluation.nats_of_answers import reference_kl as reference_kl
from lens_steer.evaluation.positions import positions_of as positions_of
from lens_steer.evaluation.random_control import (
    random_as_activations_vary as random_as_activations_vary,
)
from lens_steer.evaluation.random_control import random_like as random_like
from lens_steer.evaluation.result import Evaluation as Evaluation
from lens_steer.evaluation.sampled_texts import SampledText as SampledText
from lens_steer.evaluation.sampled_texts import as_sampled_texts as as_sampled_texts
from lens_steer.evaluation.sampled_texts import draw_logits as draw_logits
from lens_steer.evaluation.sampled_texts import draws_of as draws_of
from lens_steer.evaluation.sampled_texts import even_batches as even_batches
from lens_steer.evaluation.sampled_texts import steered_by_row as steered_by_row
from lens_steer.evaluation.screening import Screen as Screen
from lens_steer.evaluation.screening import screen as screen
from lens_steer.evaluation.strengths_side_by_side import SideBySide as SideBySide
from lens_steer.evaluation.sweeping import SweepReport as SweepReport
from lens_steer.evaluation.sweeping import sweep as sweep
from lens_steer.evaluation.text_classifier import TextClassifier as TextClassifier
from lens_steer.evaluation.text_costs import TextCosts as TextCosts
from lens_steer.evaluation.text_costs import check_comparable as check_comparable
from lens_steer.evaluation.text_costs import teacher_forced_kl as teacher_forced_kl
from lens_steer.evaluation.words import distinct as distinct
from lens_steer.evaluation.words import distinct_without as distinct_without
from lens_steer.evaluation.words import repetition as repetition

_check_room(globals())
