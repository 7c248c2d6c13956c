"""Published data sets, read from their original files; none of them is part of this package.

`load_published` (`loading`) reads a file by the name of its set, and refuses one of another set.
A `PublishedSet` (`published_set`) holds questions, pairs and prompts, as far as the set has them;
`rows` says how rows are read, and left out with a reason. A leaf for each set, or for those of one
form, says its form, licence and source: `truthfulqa`, `copa`, `sst2`, `model_written_evals` (and
CAA's), `harmful_requests` (refusal_direction, AdvBench, JailbreakBench), `personas` (repeng,
persona vectors), `concepts`.
"""

from lens_steer.data.published.loading import PUBLISHED as PUBLISHED
from lens_steer.data.published.loading import load_published as load_published
from lens_steer.data.published.published_set import About as About
from lens_steer.data.published.published_set import PublishedSet as PublishedSet
