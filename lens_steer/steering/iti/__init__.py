"""Inference-time intervention: along probes of single heads, and of the residual stream."""

from lens_steer.steering.iti._iti import ITI as ITI
from lens_steer.steering.iti._probes import head_accuracies as head_accuracies
from lens_steer.steering.iti._residual import ResidualITI as ResidualITI
