"""What can go wrong with a backbone. Each message says what to do."""


class BackboneError(Exception):
    """A backbone that cannot be used."""

    code = "backbone_error"


class BackboneUnknown(BackboneError):
    """No source has a backbone of this name."""

    code = "backbone_unknown"


class ConfigurationBroken(BackboneError):
    """Its config.json does not say which network of timm it is."""

    code = "configuration_broken"


class WeightsUnavailable(BackboneError):
    """The weights cannot be fetched: no network, offline, gated, or not there."""

    code = "weights_unavailable"


class WeightsUnsafe(BackboneError):
    """The weights come only as a pickle, which may run code when it is read."""

    code = "weights_unsafe"


class WeightsBroken(BackboneError):
    """The file of weights is cut off or damaged."""

    code = "weights_broken"


class WeightsUnfit(BackboneError):
    """The weights do not fit the architecture."""

    code = "weights_unfit"
