"""Where steered greedy texts part from the unsteered ones: the first new token that differs.

One figure of a study, not a tool for every day. Importing this package lets `lens_steer.load` read
saved reports.
"""

from analyses.divergence.report import DivergenceReport as DivergenceReport
