"""Is ODESteer's field linear, does its ODE matter, and is h a log-ratio of densities?

For every behaviour, three kinds of barrier (the exact kernel, the published sketch, a linear probe)
are fitted on train at each layer; the layer with the least log-loss on dev is kept, and its field
is traced on test: nothing that is reported was seen by a fit or a choice. The parts share no group
(prompts about one thing), and rows of one group are drawn together in intervals. Within train,
gamma and C are cross-validated by rows, which do not know their group: `held_out_loss` beside
`dev_loss` shows what that hides.

Writes layers, summary and stability (tables) for all behaviours, and for each behaviour and barrier
the figures of its field with their data. The six behaviours of the embedded model take about five
minutes of processor time.

    python -m analyses.barrier_field --out out/barrier_field
    python -m analyses.barrier_field --model ../shared/models/stories260k --pairs stories:sad

The files: `measures` fits, chooses and traces barriers.
"""
