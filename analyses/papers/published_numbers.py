"""Numbers that the papers print, in percent.

SADI: Wang et al., ICLR 2025, arXiv:2410.12299, tables 1, 3 and 4 (Llama-2-7B-chat). A-LQR:
Skifstad, Yang and Chou, ICML 2026, arXiv:2604.19018, its tables of TruthfulQA (Gemma-2-2B) and of
jailbreaking (Qwen2.5-14B-Instruct). ODESteer: ICLR 2026, arXiv:2602.17560: of its tables only the
differences that its abstract names are at hand, so that no number of it stands here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A number of a paper.

    Attributes:
        value: In percent.
        source: The table it is from.
    """

    value: float
    source: str


_SADI_1 = "SADI, table 1"
_SADI_3 = "SADI, table 3"
_SADI_4 = "SADI, table 4"
_LQR_TRUTH = "A-LQR, table of TruthfulQA"
_LQR_ATTACKS = "A-LQR, table of jailbreaking"

# By paper and table, task, row and metric, as the presets name them.
NUMBERS: dict[tuple[str, str, str, str], Published] = {
    ("sadi-1", "COPA", "unsteered", "exact match"): Published(70.80, _SADI_1),
    ("sadi-1", "COPA", "SADI-HEAD", "exact match"): Published(78.80, _SADI_1),
    ("sadi-1", "COPA", "SADI-NEURON", "exact match"): Published(82.20, _SADI_1),
    ("sadi-1", "SST-2", "unsteered", "exact match"): Published(88.63, _SADI_1),
    ("sadi-1", "SST-2", "SADI-HEAD", "exact match"): Published(92.20, _SADI_1),
    ("sadi-3", "TruthfulQA, 5-shot", "unsteered", "MC1"): Published(33.41, _SADI_3),
    ("sadi-3", "TruthfulQA, 5-shot", "SADI-HEAD", "MC1"): Published(35.90, _SADI_3),
    ("sadi-3", "TruthfulQA, 5-shot", "SADI-HIDDEN", "MC1"): Published(67.07, _SADI_3),
    ("sadi-3", "TruthfulQA, 5-shot", "SADI-HIDDEN", "MC2"): Published(92.90, _SADI_3),
    ("sadi-4", "COPA", "unsteered", "exact match"): Published(70.80, _SADI_1),
    ("sadi-4", "COPA", "SADI-HEAD", "exact match"): Published(78.80, _SADI_4),
    ("sadi-4", "COPA", "random heads", "exact match"): Published(72.40, _SADI_4),
    ("sadi-4", "COPA", "fixed vector", "exact match"): Published(71.20, _SADI_4),
    ("sadi-4", "SST-2", "unsteered", "exact match"): Published(88.63, _SADI_1),
    ("sadi-4", "SST-2", "SADI-HEAD", "exact match"): Published(92.20, _SADI_4),
    ("sadi-4", "SST-2", "random heads", "exact match"): Published(91.48, _SADI_4),
    ("sadi-4", "SST-2", "fixed vector", "exact match"): Published(91.43, _SADI_4),
    ("lqr-truthfulqa", "TruthfulQA", "unsteered", "true"): Published(48.64, _LQR_TRUTH),
    ("lqr-truthfulqa", "TruthfulQA", "ODESteer", "true"): Published(63.50, _LQR_TRUTH),
    ("lqr-truthfulqa", "TruthfulQA", "A-LQR", "true"): Published(67.81, _LQR_TRUTH),
    ("lqr-jailbreak", "harmful requests", "unsteered", "not refused"): Published(1.9, _LQR_ATTACKS),
    ("lqr-jailbreak", "harmful requests", "S-PID", "not refused"): Published(65.4, _LQR_ATTACKS),
    ("lqr-jailbreak", "harmful requests", "A-LQR", "not refused"): Published(69.2, _LQR_ATTACKS),
    ("lqr-jailbreak", "harmful requests", "A-LQR+", "not refused"): Published(97.1, _LQR_ATTACKS),
}

# Where the published number is of another quantity than the one measured, by metric.
OTHER_QUANTITY = {
    "true": "the published number is True x Info by two judges of 7 billion parameters",
    "not refused": (
        "the published number is the rate of success on AdvBench's test split by HarmBench's judge"
    ),
}


def published(key: str, task: str, row: str, metric: str) -> Published | None:
    """The published number of a cell; None where the paper has none, or it is not at hand.

    Args:
        key: Paper and table, such as `sadi-1`.
        task: The task, as its preset names it.
        row: The row.
        metric: The metric.

    Example:
        >>> published("sadi-1", "COPA", "SADI-HEAD", "exact match").value
        78.8
    """
    return NUMBERS.get((key, task, row, metric))
