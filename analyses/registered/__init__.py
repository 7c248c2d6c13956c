"""Do the papers' methods steer better than simple ones? Registered before it was run.

Questions, measures, exclusions and the eight contrasts stand in docs/registration.md, which was
committed before the first journal. A run is of one model: a gate for every task, then every task
that enters, in three folds. Every unit is kept as soon as it has been measured, so that a run may
be stopped at any time and goes on with the same command. The contrasts are made when nothing is
missing, and not before.

    python -m analyses.registered --model smollm2 --data DIR --dry-run
    python -m analyses.registered --model smollm2 --data DIR --out out/registered/smollm2

`texts` are the texts of the tasks, `tasks` the tasks with their judges, `methods` the nine methods
and their structures, `measuring` what a unit measures, `journals` the units and what is kept of
them, `gate` which tasks enter, `contrasts` the confirmatory statistics, `tables` and `figures` the
rest, `costs` what a run costs.
"""
