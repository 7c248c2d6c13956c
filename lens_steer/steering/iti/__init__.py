"""Inference-time intervention: along probes of single heads, and of the residual stream.

`probes` says how often a probe of each head is right, `heads` pushes the best ones (`ITI`), and
`residual` pushes the residual stream along one probe's normal (`ResidualITI`).
"""

from lens_steer.steering.iti.heads import ITI as ITI
from lens_steer.steering.iti.probes import head_accuracies as head_accuracies
from lens_steer.steering.iti.residual import ResidualITI as ResidualITI
