"""What matters in steering? Shares of variance by behaviour, fit, read position, layer and method.

Every method of one layer is made from every half of train, read position and layer, brought to one
cost (0.1 nats per token along unsteered dev texts), and measured on test: the mean change of
preference, nats per token, and the share of generated texts that show the behaviour. The cells make
a balanced crossed design; the analysis of variance says how much of what is found goes with which
choice. A run may be stopped at any time and goes on with the same command.

    python -m analyses.variance --model organism --dry-run
    python -m analyses.variance --model organism --out out/variance/organism
    python -m analyses.variance --model smollm2 --pairs "sea,food,question" --text-prompts 0

`design` holds the levels of the design, `equal_nats` the strengths of one cost, `measuring` what a
unit measures, `journals` the units and what is kept of them, `components` the mathematics, `tables`
and `figures` what is reported.
"""
