"""Through which path steering acts on later tokens: the residual stream, or keys and values.

A paper's figure, measured along fixed unsteered texts. Offset 0 is the last prompt token. Each
position is run four ways: with only itself steered (`residual`: its own residual stream over the
clean keys and values of other positions), with only the positions before it steered (`cache`: a
clean residual stream over steered keys and values), with both steered as in generation (`both`),
and after steering has stopped (`stopped`), where only the cache is left. `interaction` is what both
do beyond the sum of the two.

`effects` measures the nats at every position, `statistics` turns them into shares, half-lives and
intervals, `report` holds both, `drawing` shows them. Importing this package lets `lens_steer.load`
read saved reports.
"""

from analyses.paths.report import PathSplitReport as PathSplitReport
from analyses.paths.statistics import PathSplit as PathSplit
