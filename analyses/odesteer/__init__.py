"""Do flows along barriers steer better than one step, than straight lines, and than vectors?

For every behaviour, five methods are compared: ODESteer on the exact cross-validated barrier, the
same barrier in one rotation, the published sketch in Euler steps, the flow along a linear probe,
and CAA; for organism:polarity also two CAA vectors, of which each prompt gets the right one. The
layer and the read position of each are chosen on dev from one grid, at 0.1 nats per token, and
measured on test. Then all turn by the same angles; and how linear the fields are, layer by layer.

Writes matched, differences (paired, p-values corrected over all behaviours), angle and fields, each
a figure with its data, and missing (a table). The six behaviours of the embedded model take about
15 minutes of processor time.

    python -m analyses.odesteer --out out/odesteer
    python -m analyses.odesteer --model ../shared/models/stories260k --pairs stories:sad --tokens 40

The files: `methods` and `gated` make the methods, `measures` turns them by angles and looks at
fields, `figures` draws the tables of all behaviours.
"""
