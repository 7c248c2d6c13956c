"""Models: loading them, checking them once, and running them with or without a cache.

Every function of lens_steer takes a HookedTransformer or a TransformerBridge (`protocol`).
`load_model` makes one (`loading`, `hooked_models`, `gguf_files`, `checkpoints`), also of the models
that `fetch` brings (`named_models`). When a model is first used,
`attach` checks it (`attachment`): over a cache (`agreement`), against Hugging Face (`hugging_face`,
`small_copies`, `small_configs`), and again when its weights have changed (`weights_state`); it
leaves a `Fingerprint`, which `Provenance` carries on. Prompts (`prompts`) become tokens in
`tokens` and `special_tokens`. `forward_pass`, `decoders` and `frozen_context` are the three ways to
run a model; `hooks` and `steered_blocks` keep apart what acts on it in different threads and tasks;
`checked_weights` hands out W_O, W_out, W_E and W_U; `quantised` says of which models there are
none; `gated` reads the gates of MLPs. `attention_sinks` finds the tokens whose activations are many
times as large as the others', `sink_report` lists them, and `description` is a model on one screen.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.models.agreement import has_hooks as has_hooks
from lens_steer.models.agreement import probe_tokens as probe_tokens
from lens_steer.models.attachment import Attachment as Attachment
from lens_steer.models.attachment import attach as attach
from lens_steer.models.attachment import is_processed as is_processed
from lens_steer.models.attachment import last_seen as last_seen
from lens_steer.models.attachment import looked_at as looked_at
from lens_steer.models.attention_sinks import clean_sinks as clean_sinks
from lens_steer.models.attention_sinks import sink_positions as sink_positions
from lens_steer.models.cache_names import cache_of as cache_of
from lens_steer.models.cache_names import name_of_cache as name_of_cache
from lens_steer.models.cached_states import holds_states_alone as holds_states_alone
from lens_steer.models.cached_states import noted_columns as noted_columns
from lens_steer.models.checked_weights import embedding_matrices as embedding_matrices
from lens_steer.models.checked_weights import output_weight as output_weight
from lens_steer.models.checked_weights import residual_edit as residual_edit
from lens_steer.models.decoders import Decoder as Decoder
from lens_steer.models.decoders import SharedPrefixDecoder as SharedPrefixDecoder
from lens_steer.models.decoders import TokenDecoder as TokenDecoder
from lens_steer.models.decoders import UncachedDecoder as UncachedDecoder
from lens_steer.models.decoders import continues_tokens_together as continues_tokens_together
from lens_steer.models.description import ModelDescription as ModelDescription
from lens_steer.models.fingerprint import Fingerprint as Fingerprint
from lens_steer.models.first_position import FirstPosition as FirstPosition
from lens_steer.models.forward_pass import context_length as context_length
from lens_steer.models.forward_pass import decode_budget as decode_budget
from lens_steer.models.forward_pass import forward as forward
from lens_steer.models.forward_pass import gradients_possible as gradients_possible
from lens_steer.models.forward_pass import hooked as hooked
from lens_steer.models.forward_pass import input_device as input_device
from lens_steer.models.forward_pass import logits_at as logits_at
from lens_steer.models.forward_pass import read as read
from lens_steer.models.forward_pass import reading as reading
from lens_steer.models.frozen_context import FrozenContextBlocks as FrozenContextBlocks
from lens_steer.models.gated import clean_gates as clean_gates
from lens_steer.models.gated import gate_function as gate_function
from lens_steer.models.gated import has_gates as has_gates
from lens_steer.models.hooks import ForkSafeLock as ForkSafeLock
from lens_steer.models.hooks import PlacedHooks as PlacedHooks
from lens_steer.models.hooks import hooks_at_rest as hooks_at_rest
from lens_steer.models.hooks import placed_hooks as placed_hooks
from lens_steer.models.loading import available_device as available_device
from lens_steer.models.loading import load_model as load_model
from lens_steer.models.loading import model_directory as model_directory
from lens_steer.models.named_models import NAMED_MODELS as NAMED_MODELS
from lens_steer.models.named_models import NamedModel as NamedModel
from lens_steer.models.named_models import fetch as fetch
from lens_steer.models.named_models import models_folder as models_folder
from lens_steer.models.package_versions import HAS_HOOKED_TRANSFORMER as HAS_HOOKED_TRANSFORMER
from lens_steer.models.package_versions import Versions as Versions
from lens_steer.models.package_versions import version_of as version_of
from lens_steer.models.package_versions import versions as versions
from lens_steer.models.prompts import Message as Message
from lens_steer.models.prompts import Prompt as Prompt
from lens_steer.models.prompts import as_prompt as as_prompt
from lens_steer.models.prompts import render as render
from lens_steer.models.protocol import SteerableModel as SteerableModel
from lens_steer.models.protocol import is_bridge as is_bridge
from lens_steer.models.protocol import working_place as working_place
from lens_steer.models.provenance import Provenance as Provenance
from lens_steer.models.provenance import check_one_model as check_one_model
from lens_steer.models.quantised import check_differentiable as check_differentiable
from lens_steer.models.quantised import quantisation as quantisation
from lens_steer.models.sink_report import Sink as Sink
from lens_steer.models.sink_report import Sinks as Sinks
from lens_steer.models.sink_report import sinks as sinks
from lens_steer.models.special_tokens import bos_id as bos_id
from lens_steer.models.special_tokens import eos_ids as eos_ids
from lens_steer.models.special_tokens import tokenizer_of as tokenizer_of
from lens_steer.models.steered_blocks import OpenBlock as OpenBlock
from lens_steer.models.steered_blocks import check_unsteered as check_unsteered
from lens_steer.models.steered_blocks import open_blocks as open_blocks
from lens_steer.models.steered_blocks import opened as opened
from lens_steer.models.steered_blocks import unsteered as unsteered
from lens_steer.models.tokens import Encoded as Encoded
from lens_steer.models.tokens import batches as batches
from lens_steer.models.tokens import check_fits as check_fits
from lens_steer.models.tokens import continuation_places as continuation_places
from lens_steer.models.tokens import decode_continuation as decode_continuation
from lens_steer.models.tokens import encode as encode
from lens_steer.models.tokens import encode_prompt as encode_prompt
from lens_steer.models.tokens import pad as pad
from lens_steer.models.tokens import token_texts as token_texts
from lens_steer.models.widened_decoder import WidenedDecoder as WidenedDecoder
from lens_steer.models.widened_decoder import can_widen as can_widen

_check_room(globals())
