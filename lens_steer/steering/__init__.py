"""Steering: what all methods share, and one leaf per method.

A method is a value that says which activations become what (`Intervention`). `base` runs methods in
a model: at the positions of a scope, for the length of a block (`steered`), or while it writes
(`generate`). Methods whose edit is a function of the activation alone have `transform`, which needs
no model (`ActivationMap`); among them, those that push have `vector_field` (`Displacement`), and
those that add fixed vectors can be added and multiplied (`VectorMethod`). Leaves never import each
other.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.steering.ablation import Ablation as Ablation
from lens_steer.steering.additive import CAA as CAA
from lens_steer.steering.additive import ActAdd as ActAdd
from lens_steer.steering.angular import Angular as Angular
from lens_steer.steering.base import ActivationMap as ActivationMap
from lens_steer.steering.base import Additive as Additive
from lens_steer.steering.base import AnyIntervention as AnyIntervention
from lens_steer.steering.base import DecodeStep as DecodeStep
from lens_steer.steering.base import Decoding as Decoding
from lens_steer.steering.base import DecodingOptions as DecodingOptions
from lens_steer.steering.base import Displacement as Displacement
from lens_steer.steering.base import Edit as Edit
from lens_steer.steering.base import Ending as Ending
from lens_steer.steering.base import Intervention as Intervention
from lens_steer.steering.base import Methods as Methods
from lens_steer.steering.base import NotFinite as NotFinite
from lens_steer.steering.base import Preview as Preview
from lens_steer.steering.base import Push as Push
from lens_steer.steering.base import Run as Run
from lens_steer.steering.base import Scope as Scope
from lens_steer.steering.base import VectorMethod as VectorMethod
from lens_steer.steering.base import WithSinks as WithSinks
from lens_steer.steering.base import absolute_positions as absolute_positions
from lens_steer.steering.base import apply_everywhere as apply_everywhere
from lens_steer.steering.base import as_rows as as_rows
from lens_steer.steering.base import check_activation_shape as check_activation_shape
from lens_steer.steering.base import check_scope as check_scope
from lens_steer.steering.base import check_unit as check_unit
from lens_steer.steering.base import class_difference as class_difference
from lens_steer.steering.base import continuations as continuations
from lens_steer.steering.base import continuations_of_each as continuations_of_each
from lens_steer.steering.base import decoding_of_call as decoding_of_call
from lens_steer.steering.base import editable_site as editable_site
from lens_steer.steering.base import generate as generate
from lens_steer.steering.base import is_distribution as is_distribution
from lens_steer.steering.base import leaves_out_sinks as leaves_out_sinks
from lens_steer.steering.base import not_finite as not_finite
from lens_steer.steering.base import on_device as on_device
from lens_steer.steering.base import preview as preview
from lens_steer.steering.base import prompt_rows as prompt_rows
from lens_steer.steering.base import steered as steered
from lens_steer.steering.base import steered_positions as steered_positions
from lens_steer.steering.base import unit_of as unit_of
from lens_steer.steering.fishback import FishBack as FishBack
from lens_steer.steering.gate import BarrierCondition as BarrierCondition
from lens_steer.steering.gate import Condition as Condition
from lens_steer.steering.gate import CosineCondition as CosineCondition
from lens_steer.steering.gate import Gate as Gate
from lens_steer.steering.gate import prompt_means as prompt_means
from lens_steer.steering.iti import ITI as ITI
from lens_steer.steering.iti import ResidualITI as ResidualITI
from lens_steer.steering.iti import head_accuracies as head_accuracies
from lens_steer.steering.lqr import LQR as LQR
from lens_steer.steering.lqr import BarrierLQR as BarrierLQR
from lens_steer.steering.lqr import BarrierOptions as BarrierOptions
from lens_steer.steering.lqr import Costs as Costs
from lens_steer.steering.lqr import ElementLQR as ElementLQR
from lens_steer.steering.lqr import JointLQR as JointLQR
from lens_steer.steering.lqr import LQRTracker as LQRTracker
from lens_steer.steering.lqr import OnlineLQR as OnlineLQR
from lens_steer.steering.lqr import RegulatorOptions as RegulatorOptions
from lens_steer.steering.lqr import WeightOptions as WeightOptions
from lens_steer.steering.lqr import isotropic_feedback as isotropic_feedback
from lens_steer.steering.odesteer import BarrierPush as BarrierPush
from lens_steer.steering.odesteer import Guided as Guided
from lens_steer.steering.odesteer import ODESteer as ODESteer
from lens_steer.steering.odesteer import StepODESteer as StepODESteer
from lens_steer.steering.odesteer import TargetODESteer as TargetODESteer
from lens_steer.steering.pid import PID as PID
from lens_steer.steering.random_directions import Random as Random
from lens_steer.steering.repe import RepE as RepE
from lens_steer.steering.sadi import SADI as SADI
from lens_steer.steering.sadi import FrozenSADI as FrozenSADI
from lens_steer.steering.sadi import GridAnswers as GridAnswers
from lens_steer.steering.sadi import GridReport as GridReport
from lens_steer.steering.sadi import SignedSADI as SignedSADI
from lens_steer.steering.transport import LinearAcT as LinearAcT
from lens_steer.steering.transport import MeanAcT as MeanAcT
from lens_steer.steering.transport import MiMiC as MiMiC

_check_room(globals())
