"""Families of techniques: the alternatives that a field of the recipe chooses among."""

from __future__ import annotations

from models.catalog.activations import Activation
from models.catalog.augmentations import Augmentation
from models.catalog.cache import Cache
from models.catalog.cuts import Cut
from models.catalog.distillation import Distillation
from models.catalog.early_stopping import EarlyStopping, Target
from models.catalog.gradient_clipping import Clipping
from models.catalog.head_search import Search
from models.catalog.heads import Head
from models.catalog.initializers import Initializer
from models.catalog.losses import Loss
from models.catalog.normalizations import Normalization
from models.catalog.optimizers import Optimizer
from models.catalog.pooling import Pooling
from models.catalog.pretraining import Pretraining
from models.catalog.regularizers import Regularizer
from models.catalog.sampling import Sampling
from models.catalog.schedules import Schedule
from models.catalog.sharpness import Sharpness
from models.catalog.tuning import Tuning
from models.catalog.weight_averaging import ExponentialMovingAverage

FAMILIES = {
    "cuts": Cut,
    "tuning": Tuning,
    "pooling": Pooling,
    "cache": Cache,
    "heads": Head,
    "activations": Activation,
    "initializers": Initializer,
    "normalizations": Normalization,
    "pretraining": Pretraining,
    "optimizers": Optimizer,
    "schedules": Schedule,
    "gradient_clipping": Clipping,
    "sharpness": Sharpness,
    "regularizers": Regularizer,
    "augmentations": Augmentation,
    "losses": Loss,
    "distillation": Distillation,
    "sampling": Sampling,
    "averaging": ExponentialMovingAverage,
    "early_stopping": EarlyStopping,
    "target": Target,
    "search": Search,
}
"""Every family of techniques, by name."""
