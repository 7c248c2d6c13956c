"""Evaluation: judges, likelihoods, intervals, and methods at one strength or several."""

from lens_steer.evaluation._choose import Choice as Choice
from lens_steer.evaluation._choose import choose as choose
from lens_steer.evaluation._choose import share_of_form as share_of_form
from lens_steer.evaluation._evaluate import Evaluation as Evaluation
from lens_steer.evaluation._evaluate import evaluate as evaluate
from lens_steer.evaluation._evaluate import evaluate_each as evaluate_each
from lens_steer.evaluation._intervals import Interval as Interval
from lens_steer.evaluation._intervals import interval as interval
from lens_steer.evaluation._judges import FormJudge as FormJudge
from lens_steer.evaluation._judges import Judge as Judge
from lens_steer.evaluation._judges import WordList as WordList
from lens_steer.evaluation._judges import judge_of as judge_of
from lens_steer.evaluation._likelihood import log_probabilities as log_probabilities
from lens_steer.evaluation._likelihood import perplexity as perplexity
from lens_steer.evaluation._likelihood import preference as preference
from lens_steer.evaluation._sweep import SweepReport as SweepReport
from lens_steer.evaluation._sweep import sweep as sweep
