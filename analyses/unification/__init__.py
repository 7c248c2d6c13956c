"""Which assumption of a steering method buys its gain? One family, one switch at a time.

The family is a push at one layer along M J' w: the readout w, the Jacobian J to where w reads, and
the metric M, taken in one step. CAA is the class difference with J = M = I; each other member
changes one of these (the LDA readout with the covariance metric changes two, and is CAA again: a
check). The layer and the read position of each are chosen on dev from one grid, at 0.1 nats per
token, and measured on test, less CAA.

Writes differences (paired, p-values corrected over all behaviours; a figure with its data), matched
and directions (cosines of pushes with CAA's) and missing, which are tables. Two behaviours of the
embedded model take about 20 minutes of processor time.

    python -m analyses.unification --out out/unification
    python -m analyses.unification --pairs organism:sentiment,organism:toxicity

The files: `methods` is the family, `figures` draws the differences.
"""
