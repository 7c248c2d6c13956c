"""Are blocks linear, and the fields of barriers lines, on prose, chat and code? By layer.

For each kind of text, 72 pairs written for this study in 24 groups, which end at many kinds of
token: half of the groups give Jacobians, features and barriers, the other half is tested. At every
block the stream of the last token is moved along the difference of the classes' means, by .1, .3
and 1 of two lengths: that of the stream, and the one that costs .1 nats of the next token (to
second order). What is predicted of the block's change by the text's own Jacobian, by the mean over
its own class, over the other class, and over each kind of text, is set beside the identity. Then,
behind every block, how much of a line the field of a kernel barrier is, from one row to the next.

Writes summary and field_summary (tables), and the figures skill, kinds and field with theirs.
Questions, measures and verdicts are registered: analyses/results/text_kinds/README.md. A model of
30 blocks takes about five minutes of processor time.

    python -m analyses.text_kinds --model smollm2 --out out/text_kinds

A request with its answer is written by the chat template; on a model without one as text, "User:"
and "Assistant:".

The files: `prose`, `chats` and `code` are the texts, in `frames`; `predictions` has the errors and
the nats of tensors, `measures` takes them at a model's blocks, `fields` fits barriers, `tables`
and `figures` are what is written.
"""
