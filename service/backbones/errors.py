"""Errors of backbones."""

from service.errors import Conflict, NotFound, TooLarge, Unavailable, Unprocessable


class BackboneNotFound(NotFound):
    """No backbone has this name."""

    code = "backbone_not_found"


class BackbonesNotListed(Unavailable):
    """No worker of this service has listed its backbones yet."""

    code = "backbones_not_listed"


class BackboneInUse(Conflict):
    """A job, a recommendation or a pretraining uses the backbone."""

    code = "backbone_in_use"


class BackboneNotUploaded(Conflict):
    """The request is for uploaded backbones, or those pretrained here, and this one is another source's."""

    code = "backbone_not_uploaded"


class PreprocessingNotNeeded(Conflict):
    """The backbone does not wait for its preprocessing: it is being imported, is ready, or failed for good."""

    code = "preprocessing_not_needed"


class UploadDropped(Conflict):
    """The backbone waited too long for its preprocessing: its file is deleted."""

    code = "upload_dropped"


class ImagesUnfit(Unprocessable):
    """The images of the dataset cannot be used to pretrain a backbone."""

    code = "images_unfit"
    loc = "body.pretrain.dataset"


class NotABackbone(Unprocessable):
    """The body is surely no file of a network."""

    code = "not_a_backbone"


class BackboneFileTooLarge(TooLarge):
    """The upload is larger than this deployment accepts."""

    code = "backbone_file_too_large"
