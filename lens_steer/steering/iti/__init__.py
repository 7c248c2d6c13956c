"""Inference-time intervention: along probes of single heads, and of the residual stream."""

from lens_steer.steering.iti.heads import ITI as ITI
from lens_steer.steering.iti.probes import head_accuracies as head_accuracies
from lens_steer.steering.iti.residual import ResidualITI as ResidualITI
