"""Models: loading them, looking them over once, and running them with or without a cache."""

from lens_steer.models._attach import Attachment as Attachment
from lens_steer.models._attach import attach as attach
from lens_steer.models._attach import is_processed as is_processed
from lens_steer.models._cache_names import cache_of as cache_of
from lens_steer.models._cache_names import name_of_cache as name_of_cache
from lens_steer.models._fingerprint import Fingerprint as Fingerprint
from lens_steer.models._forward import Decoder as Decoder
from lens_steer.models._forward import Recomputer as Recomputer
from lens_steer.models._forward import Resumed as Resumed
from lens_steer.models._forward import context_length as context_length
from lens_steer.models._forward import decode_budget as decode_budget
from lens_steer.models._forward import forward as forward
from lens_steer.models._forward import hooked as hooked
from lens_steer.models._forward import input_device as input_device
from lens_steer.models._forward import read as read
from lens_steer.models._forward import reading as reading
from lens_steer.models._load import available_device as available_device
from lens_steer.models._load import load_model as load_model
from lens_steer.models._protocol import SteerableModel as SteerableModel
from lens_steer.models._protocol import is_bridge as is_bridge
from lens_steer.models._protocol import working_place as working_place
from lens_steer.models._replay import Replay as Replay
from lens_steer.models._residual import residual_edit as residual_edit
