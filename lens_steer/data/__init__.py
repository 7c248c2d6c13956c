"""Contrastive pairs: texts that show a behaviour, and texts that do not.

`ContrastivePairs` (`contrastive_pairs`) is the set. Its examples (`example`) come from the rows of
a source (`sources`): of a file (`file_formats`), of Python objects or a JSON document
(`documents`), or of a named set (`named_sets`); `records` says what the columns of a row mean.
`splits` divides a set so that what shares a prompt or a group stays together.

A line of `.jsonl`, a row of `.csv` or an object in the list of a `.json` file has these columns, by
name:

- `prompt` or `messages` (a chat), both optional; or `question`, after which a space is put if
  neither it nor the answer has one there;
- `desired` and `undesired`; or `answer_matching_behavior` and `answer_not_matching_behavior` (CAA);
  or `true` and `false`; or `correct_answers` and `incorrect_answers` (TruthfulQA). The last two
  couples may be lists, which are paired in order as far as the shorter goes; text under the last is
  split at semicolons. An answer in both lists distinguishes nothing: it is left out and counted
  (`left_out`, and in what is printed);
- or `mc2_targets` or `mc1_targets` (TruthfulQA's `mc_task.json`): each answer with 1 if it is
  correct, else 0; where both columns are present the first, which has more, is used;
- or, unpaired, `text` and `label`, the label being `desired` or `undesired`;
- `group` (optional).

A list in `.json` may hold tuples as `ContrastivePairs.of` takes them. Instead of a list, `.json`
may hold `{"positives": [...], "negatives": [...], "prompts": [...]}` (paired, prompts optional), or
`{"desired": [...], "undesired": [...]}` (unpaired; for subsets of other names see
`ContrastivePairs.from_subsets`).

CAA's answers, ` (A)` and ` (B)`, are kept whole: the read position `last` then reads the closing
bracket, which both classes share, and position -2 the letter, as the paper does.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.data.contrastive_pairs import ContrastivePairs as ContrastivePairs
from lens_steer.data.contrastive_pairs import as_pairs as as_pairs
from lens_steer.data.example import Example as Example
from lens_steer.data.example import as_records as as_records
from lens_steer.data.named_sets import behaviour_words as behaviour_words
from lens_steer.data.named_sets import set_names as set_names
from lens_steer.data.questions import Question as Question
from lens_steer.data.questions import Questions as Questions

_check_room(globals())
