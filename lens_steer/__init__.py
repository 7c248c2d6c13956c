"""Read a language model and steer it.

>>> import lens_steer as ls
>>> model = ls.load_model("organism")  # "gpt2", or any HookedTransformer or TransformerBridge
>>> pairs = ls.ContrastivePairs.load("organism:sentiment")  # a .jsonl file, a list of tuples
>>> train, dev, test = pairs.split(0.6, 0.2, 0.2, seed=0)
>>> resid = ls.capture(model, train, "resid")  # activations of either class, at every layer
>>> method = ls.CAA.fit(resid.at(layer=3))  # a value: 2 * a - b, with_strength(0.5), print it
>>> texts = ls.generate(model, test.prompts, method, seed=0)  # or: with ls.steered(model, method):
"""

from lens_steer import attribution as attribution
from lens_steer import field as field
from lens_steer import linearity as linearity
from lens_steer import organism as organism
from lens_steer import tracking as tracking
from lens_steer._versions import Versions as Versions
from lens_steer._versions import versions as versions
from lens_steer.activations import Activations as Activations
from lens_steer.activations import ContrastStats as ContrastStats
from lens_steer.activations import LayerActivations as LayerActivations
from lens_steer.activations import capture as capture
from lens_steer.activations import readings as readings
from lens_steer.artifacts import describe as describe
from lens_steer.artifacts import load as load
from lens_steer.artifacts import save as save
from lens_steer.barriers import Barrier as Barrier
from lens_steer.barriers import FourierBarrier as FourierBarrier
from lens_steer.barriers import JointBarrier as JointBarrier
from lens_steer.barriers import LinearBarrier as LinearBarrier
from lens_steer.barriers import PolynomialBarrier as PolynomialBarrier
from lens_steer.elements import ElementMask as ElementMask
from lens_steer.elements import ElementScores as ElementScores
from lens_steer.elements import masked as masked
from lens_steer.evaluation import Comparison as Comparison
from lens_steer.evaluation import Terms as Terms
from lens_steer.evaluation import WordList as WordList
from lens_steer.evaluation import calibrate as calibrate
from lens_steer.evaluation import choose as choose
from lens_steer.evaluation import compare as compare
from lens_steer.evaluation import comparison as comparison
from lens_steer.evaluation import evaluate as evaluate
from lens_steer.evaluation import evaluate_each as evaluate_each
from lens_steer.evaluation import preference as preference
from lens_steer.evaluation import sweep as sweep
from lens_steer.features import Features as Features
from lens_steer.jacobians import BlockMaps as BlockMaps
from lens_steer.jacobians import LayerJacobians as LayerJacobians
from lens_steer.jacobians import PullbackFisher as PullbackFisher
from lens_steer.jacobians import linearize as linearize
from lens_steer.jacobians import pullback_fisher as pullback_fisher
from lens_steer.models import SteerableModel as SteerableModel
from lens_steer.models import load_model as load_model
from lens_steer.pairs import ContrastivePairs as ContrastivePairs
from lens_steer.pairs import Example as Example
from lens_steer.separability import SeparabilityReport as SeparabilityReport
from lens_steer.sites import Kind as Kind
from lens_steer.sites import Site as Site
from lens_steer.steering.ablation import Ablation as Ablation
from lens_steer.steering.additive import CAA as CAA
from lens_steer.steering.additive import ActAdd as ActAdd
from lens_steer.steering.additive import Additive as Additive
from lens_steer.steering.additive import Random as Random
from lens_steer.steering.angular import Angular as Angular
from lens_steer.steering.base import Intervention as Intervention
from lens_steer.steering.base import Scope as Scope
from lens_steer.steering.base import generate as generate
from lens_steer.steering.base import steered as steered
from lens_steer.steering.fishback import FishBack as FishBack
from lens_steer.steering.gate import BarrierCondition as BarrierCondition
from lens_steer.steering.gate import CosineCondition as CosineCondition
from lens_steer.steering.gate import Gate as Gate
from lens_steer.steering.gate import prompt_means as prompt_means
from lens_steer.steering.iti import ITI as ITI
from lens_steer.steering.iti import ResidualITI as ResidualITI
from lens_steer.steering.iti import head_accuracies as head_accuracies
from lens_steer.steering.lqr import LQR as LQR
from lens_steer.steering.lqr import JointLQR as JointLQR
from lens_steer.steering.lqr import LQRTracker as LQRTracker
from lens_steer.steering.lqr import OnlineLQR as OnlineLQR
from lens_steer.steering.odesteer import BarrierPush as BarrierPush
from lens_steer.steering.odesteer import ODESteer as ODESteer
from lens_steer.steering.pid import PID as PID
from lens_steer.steering.preview import preview as preview
from lens_steer.steering.repe import RepE as RepE
from lens_steer.steering.sadi import SADI as SADI
from lens_steer.steering.sadi import FrozenSADI as FrozenSADI
from lens_steer.steering.sadi import GridReport as GridReport
from lens_steer.steering.sadi import SignedSADI as SignedSADI
from lens_steer.steering.transport import LinearAcT as LinearAcT
from lens_steer.steering.transport import MeanAcT as MeanAcT
from lens_steer.steering.transport import MiMiC as MiMiC
