"""One claim of a paper, with what settles it on the embedded model and on the public ones."""

from dataclasses import dataclass

from analyses.claims.evidence import Rule
from analyses.claims.public import Public


@dataclass(frozen=True)
class Claim:
    """One claim: a row of the page, and a part of its own below.

    Attributes:
        number: How it is cited: S, L, O for the paper (B: a baseline), and a number that stays.
        paper: The paper that makes it.
        says: The claim, in our words.
        study: The analysis that makes the table of the embedded model; empty if none does.
        rule: What settles it on the embedded model.
        public: What settles it on a public model; None: nothing has been run there.
        why: What is known of the reason, in a sentence; empty if nothing is.
    """

    number: str
    paper: str
    says: str
    study: str
    rule: Rule
    public: Public | None = None
    why: str = ""
