"""Search spaces: what the hyperparameters of a study may be.

    from search_spaces import Choice, Float, Int, Lambda, Space
    Space({"units": Int(16, 256, log=True), "l2": Lambda(1e-6, 1e-1), "activation": Choice(["relu", "tanh"])})

Nothing here needs more than the standard library; the adapters import theirs when they are called.
"""

from search_spaces.adapters.keras_tuner import from_keras_tuner, to_keras_tuner
from search_spaces.adapters.optuna import from_optuna, to_optuna
from search_spaces.adapters.ray_tune import from_ray_tune
from search_spaces.domains import Choice, Domain, Fixed, Value
from search_spaces.families import ACTIVATIONS, OPTIMIZERS
from search_spaces.forms import domain_from_json
from search_spaces.mistakes import InvalidSpace
from search_spaces.mlp import mlp
from search_spaces.parsing import parse
from search_spaces.ranges import Float, Int, Lambda
from search_spaces.space import Space

__all__ = [
    "ACTIVATIONS",
    "OPTIMIZERS",
    "Choice",
    "Domain",
    "Fixed",
    "Float",
    "Int",
    "InvalidSpace",
    "Lambda",
    "Space",
    "Value",
    "domain_from_json",
    "from_keras_tuner",
    "from_optuna",
    "from_ray_tune",
    "mlp",
    "parse",
    "to_keras_tuner",
    "to_optuna",
]
