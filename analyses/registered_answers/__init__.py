"""Registered, secondary: the nine methods on published questions, by the likelihood of answers.

What is compared, and how, is that of `analyses.registered`: the same methods, structures, folds,
choice and costs. Here nothing is written and judged: choices are read after their questions, and
every score stands beside what needs no method: a bias fitted on dev, the words without the
question, the shortest answer, the other order. The text of docs/registration.md precedes the first
journal. A run may be stopped at any time and goes on with the same command.

    python -m analyses.registered_answers --model smollm2 --data DIR --dry-run
    python -m analyses.registered_answers --model smollm2 --data DIR --out out/answers/smollm2

`DIR` holds the published files in their original form: `truthfulqa/TruthfulQA.csv`,
`copa/{train,dev,test}.jsonl`, `sst2/test.tsv`, `evals/*.jsonl`. What is not there is left out, and
named.

`tasks` reads the files, `choosing` which items enter and in which order their letters stand;
`answer_folds` reads answers under every method, `journals` are the units, `scores` the numbers of
one reading, `tables` and `figures` the rest, `costs` what a run costs.
"""
