"""Do regulators steer better at equal cost, and how far do their set-points and bounds hold?

For every behaviour, the published LQR law, our variants, PID and CAA are each chosen on dev at
0.1 nats per token and judged on test: by the behaviour of texts, and by a probe that none of them
has seen. Then: behaviour against lambda (the set-point, in class differences); features over layers
and tokens beside their set-points; whether the closed loops contract, and how wide bounds on
feature errors are; and what last-token Jacobians leave out where all tokens are steered.

Writes matched, lambda (figures with their data) and tracking and missing (tables) for all
behaviours, and for each behaviour figures of set-points, loops, bounds and positions. The six
behaviours of the embedded model take about 40 minutes of processor time.

    python -m analyses.lqr --out out/lqr
    python -m analyses.lqr --model ../shared/models/stories260k --pairs stories:sad --tokens 40

The files: `laws` makes the methods, `measures` judges them, `tracking` follows their features,
`figures` draws the tables of all behaviours.
"""
