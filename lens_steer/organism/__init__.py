"""The embedded model: a small language whose grammar is known, and a model trained on it.

The language has six kinds of text, each with a latent variable that runs through it. One
definition (`lexicon`, `genres`, on the grammars of `patterns`, `genre` and `machine`) draws the
training texts, parses what a model writes and gives its exact probability. `behaviours_of_pairs`
draws contrastive pairs, and `exact_judge` scores texts. `recipe`, `training` and `train` make the
model, `tokenizer` its tokenizer, and `stored_weights` checks the weights that come with the
package. `card.md`, beside this file, says what the model does, with numbers.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.organism.behaviours_of_pairs import LONGEST as LONGEST
from lens_steer.organism.behaviours_of_pairs import Behaviour as Behaviour
from lens_steer.organism.behaviours_of_pairs import behaviour as behaviour
from lens_steer.organism.behaviours_of_pairs import behaviours as behaviours
from lens_steer.organism.behaviours_of_pairs import harmful as harmful
from lens_steer.organism.behaviours_of_pairs import persona_prompts as persona_prompts
from lens_steer.organism.behaviours_of_pairs import rows as rows
from lens_steer.organism.exact_judge import ExactJudge as ExactJudge
from lens_steer.organism.exact_judge import judge as judge
from lens_steer.organism.exact_judge import latents as latents
from lens_steer.organism.exact_judge import log_probability as log_probability
from lens_steer.organism.exact_judge import next_words as next_words
from lens_steer.organism.exact_judge import perplexity_floor as perplexity_floor
from lens_steer.organism.genre import Genre as Genre
from lens_steer.organism.lexicon import LISTENERS as LISTENERS
from lens_steer.organism.stored_weights import weights as weights

_check_room(globals())
