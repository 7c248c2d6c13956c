"""All methods on several models and behaviours, at equal search and equal cost.

Every method may try as many settings (--settings), each calibrated to 0.1 nats per token on dev;
the one that does most there is measured on test at four strengths: behaviour at 0.03, 0.1 and 0.3
nats realised, beside random directions, a persona in the prompt (embedded models), best of n and a
learned vector. Each method less CAA, paired; p after Holm over all. Where a behaviour is measured
on several models, intervals draw models, then groups of prompts. With --budget, each method also
tries as many settings and strengths, drawn from its prior; the best on dev is measured on test,
less CAA's, and chosen again in every resample. With --specific, these methods are made for each
behaviour and run on all of them.

Writes table, differences, by_model, chosen, missing, units and, with --budget, search (tables), the
figures forest, costs, models, search and searched, and a frontier for each behaviour. Models are
separated by commas; one that has pairs of its own is MODEL=SET. A unit is one behaviour of one
model: it is kept in OUT/units when it is done, and a run that was stopped goes on with the next. A
unit of the embedded model takes five to eight minutes of processor time.

    python -m analyses.method_comparison --models organism,out/seed1/weights --out out/methods
    python -m analyses.method_comparison --models ../shared/models/stories260k=stories:sad

The files: `units` measures one unit, `tables` and `figures` gather what there is, `reporting` saves
it, `specificity` runs each method on all behaviours.
"""
