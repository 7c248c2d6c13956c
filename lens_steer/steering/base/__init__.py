"""What all steering methods share, and how a steered forward pass runs.

A method is an `Intervention` (`intervention.py`): a frozen value whose `edits(model)` are, for each
site, a pure function of the activations `[n *site]`. Edits know nothing of positions, batches or
caches. `steered` (`steered_block.py`) puts a method to work for the length of a block:

1. It asks every method for its edits, checked against the model, and opens a `Session`
   (`session.py`), which places one hook for each method and site, and one that sees a forward pass
   begin; what it knows is a `SessionState` (`session_state.py`). Hooks act only in the thread or
   task that opened the block, and are gone after it.
2. When a pass begins, `watch` (`forward_passes.py`) reports a `ForwardPass`: how many columns are
   computed, which of them are padding, and what a key-value cache holds already.
3. The first pass of a batch says where its prompts end (`Prompts`, `pass_positions.py`); later
   passes of the same generation remember it. A method that needs its prompts is made ready for them
   on the clean model (`Intervention.prepare`).
4. Scopes `prompt` and `all` leave out attention sinks: which tokens of a prompt they are is decided
   on the clean model, once for a prompt, whatever is written behind it (`Prompts.with_sinks`).
   The `Scope` (`scope.py`) then chooses positions by arithmetic on masks, lengths and sinks alone:
   `PassPositions`. That is why steering means the same cached, batched and padded on either side.
5. At each site the hook gathers the chosen activations, calls the edit, and returns a copy of the
   tensor with the edited ones in their places. An edit of strength 0 is not called at all.

`generate` (`generation.py`) encodes prompts and hands their rows to `continuations`
(`continuing.py`), which divides them into batches. In a batch (`method_copies.py`) every row stands
once for each method, and once more unsteered if the caller wants the clean model's view of every
step. `Batch` (`decode_loop.py`) is the loop: one token per row and step, drawn as `Decoding`
(`decoding.py`, on the pure functions of `sampling.py`) says, from a generator that belongs to the
row. Rows that have ended leave the batch.
Logits that are not finite are noticed as they come and explained by their layer (`finite.py`).
`preview` (`edit_preview.py`) shows what steering does to each token of one text.
"""

from lens_steer.steering.base.activation_map import ActivationMap as ActivationMap
from lens_steer.steering.base.activation_map import OneSite as OneSite
from lens_steer.steering.base.activation_map import as_rows as as_rows
from lens_steer.steering.base.activation_map import check_activation_shape as check_activation_shape
from lens_steer.steering.base.activation_map import chosen_site as chosen_site
from lens_steer.steering.base.activation_map import on_device as on_device
from lens_steer.steering.base.additive import Additive as Additive
from lens_steer.steering.base.additive import VectorMethod as VectorMethod
from lens_steer.steering.base.continuing import continuations as continuations
from lens_steer.steering.base.continuing import continuations_of_each as continuations_of_each
from lens_steer.steering.base.decode_loop import DecodeStep as DecodeStep
from lens_steer.steering.base.decode_loop import Ending as Ending
from lens_steer.steering.base.decoding import Decoding as Decoding
from lens_steer.steering.base.decoding import DecodingOptions as DecodingOptions
from lens_steer.steering.base.decoding import decoding_of_call as decoding_of_call
from lens_steer.steering.base.directions import check_finite as check_finite
from lens_steer.steering.base.directions import check_unit as check_unit
from lens_steer.steering.base.directions import class_difference as class_difference
from lens_steer.steering.base.directions import editable_site as editable_site
from lens_steer.steering.base.directions import unit_of as unit_of
from lens_steer.steering.base.displacement import Displacement as Displacement
from lens_steer.steering.base.displacement import Push as Push
from lens_steer.steering.base.edit_preview import Preview as Preview
from lens_steer.steering.base.edit_preview import preview as preview
from lens_steer.steering.base.feedback import Feedback as Feedback
from lens_steer.steering.base.feedback import check_model_shape as check_model_shape
from lens_steer.steering.base.feedback import feedback_edits as feedback_edits
from lens_steer.steering.base.feedback import feedback_sites as feedback_sites
from lens_steer.steering.base.finite import NotFinite as NotFinite
from lens_steer.steering.base.finite import Run as Run
from lens_steer.steering.base.finite import is_distribution as is_distribution
from lens_steer.steering.base.finite import not_finite as not_finite
from lens_steer.steering.base.generation import generate as generate
from lens_steer.steering.base.generation import prompt_rows as prompt_rows
from lens_steer.steering.base.intervention import AnyIntervention as AnyIntervention
from lens_steer.steering.base.intervention import Edit as Edit
from lens_steer.steering.base.intervention import Intervention as Intervention
from lens_steer.steering.base.intervention import apply_everywhere as apply_everywhere
from lens_steer.steering.base.method_copies import Methods as Methods
from lens_steer.steering.base.scope import Scope as Scope
from lens_steer.steering.base.scope import WithSinks as WithSinks
from lens_steer.steering.base.scope import absolute_positions as absolute_positions
from lens_steer.steering.base.scope import check_scope as check_scope
from lens_steer.steering.base.scope import leaves_out_sinks as leaves_out_sinks
from lens_steer.steering.base.scope import steered_positions as steered_positions
from lens_steer.steering.base.steered_block import steered as steered
