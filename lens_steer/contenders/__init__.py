"""The methods that `lens-steer compare` and the demo run: how each is made, chosen and searched.

A new method is one more entry in `CONTENDERS`; no command changes. Commands run those of `DEFAULT`
unless told otherwise.
"""

from lens_steer.contenders._choice import CONTENDERS as CONTENDERS
from lens_steer.contenders._choice import DEFAULT as DEFAULT
from lens_steer.contenders._choice import calibrated_best as calibrated_best
from lens_steer.contenders._choice import contenders as contenders
from lens_steer.contenders._choice import stored as stored
from lens_steer.contenders._contender import Contender as Contender
from lens_steer.contenders._contender import Inputs as Inputs
from lens_steer.contenders._contender import Setting as Setting

KL = 0.1  # nats per token to which methods are calibrated where nothing else is asked for
SHARES = (0.4, 0.25, 0.35)  # of the pairs: train, dev, test
