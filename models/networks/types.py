"""What this package asks of a network."""

from typing import Any

TimmNetwork = Any
"""An nn.Module with timm's forward_features, forward_head, get_classifier and reset_classifier."""
