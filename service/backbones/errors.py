"""Errors of backbones."""

from service.errors import NotFound, Unavailable


class BackboneNotFound(NotFound):
    """No backbone has this name."""

    code = "backbone_not_found"


class BackbonesNotListed(Unavailable):
    """No worker of this service has listed its backbones yet."""

    code = "backbones_not_listed"
