"""Do the papers' methods steer better than simple ones? Registered before it was run.

Questions, measures, exclusions and the eight contrasts stand in docs/registration.md, which was
committed before the first journal. A run is of one model: a gate for every task, then every task
that enters, in three folds. Every unit is kept as soon as it has been measured, so that a run may
be stopped at any time and goes on with the same command. The contrasts are made when nothing is
missing, and not before.

    python -m analyses.registered --model smollm2 --data DIR --dry-run
    python -m analyses.registered --model smollm2 --data DIR --out out/registered/smollm2
    python -m analyses.registered --model smollm2 --data DIR --others --out out/registered/smollm2

The last goes on with the journal of the one before it: the other methods of the package, on three
tasks named in advance. They are described, and change nothing about the nine.

`texts` are the texts of the tasks, `tasks` the tasks with their judges, parted by `parts`;
`methods` the methods and their structures; `measuring` says what is done in a fold, `text_folds`
how texts are judged, `references` what stands beside; `units` and `journals` are the units and what
is kept of them, `gate` which tasks enter, `contrasts` the confirmatory statistics, `tables` and
`figures` the rest, `costs` what a run costs. Answers by likelihood are those of
`analyses.registered_answers`.
"""
