"""Errors of backbones."""

from service.errors import NotFound, Unavailable


class BackboneNotFound(NotFound):
    """No backbone has this name."""

    code = "backbone_not_found"


class BackbonesNotListed(Unavailable):
    """No worker of this service has listed yet what it can load."""

    code = "backbones_not_listed"
