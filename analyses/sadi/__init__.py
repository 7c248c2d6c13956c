"""SADI, element by element: which elements are chosen, and what does scaling them do?

For every behaviour and kind of element (heads, neurons, MLP outputs): the published choice; its
stability against the number of pairs; what ablating it costs, beside random elements of the same
layers and beside the choice by true effect; the signs of what is scaled; the grid of k and delta
with KL beside accuracy (on dev); and the paper's ablation (mask, random mask, fixed vector) at
equal nats per token (on test).

Writes ways (the ablation; a figure with its data) and summary (a row for each behaviour and kind)
for all behaviours, and seven or more figures with their data for each behaviour and kind. The six
behaviours of the embedded model take about 25 minutes of processor time.

    python -m analyses.sadi --out out/sadi
    python -m analyses.sadi --model ../shared/models/stories260k --pairs stories:sad --read last

The files: `measures` says what is measured of one kind of element, `figures` draws the ablation.
"""
