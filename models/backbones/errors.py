"""What can go wrong with a backbone. Each message says what to do."""


class BackboneError(Exception):
    """A backbone that cannot be used."""


class BackboneUnknown(BackboneError):
    """No source has a backbone of this name."""


class ConfigurationBroken(BackboneError):
    """Its config.json does not say which network of timm it is."""


class WeightsUnavailable(BackboneError):
    """The weights cannot be fetched: no network, offline, gated, or not there."""


class WeightsUnsafe(BackboneError):
    """The weights come only as a pickle, which may run code when it is read."""


class WeightsBroken(BackboneError):
    """The file of weights is cut off or damaged."""


class WeightsUnfit(BackboneError):
    """The weights do not fit the architecture."""
