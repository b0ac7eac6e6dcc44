"""Knowledge distillation: a trained checkpoint's logits of the training images are targets beside their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from models.catalog.technique import Technique

if TYPE_CHECKING:
    from models.catalog.losses import Task
    from models.nn.losses import DistillationLoss


class Distillation(Technique):
    """Knowledge distillation: loss ← (1 - w)·loss + w·T²·KL(softmax(t/T) ‖ softmax(z/T)) (Hinton et al., 2015).

    t are the teacher's logits of an image's plain view, z those of the network that is trained. Of several labels an
    image, each is distilled by itself: the mean over labels of KL(σ(t/T) ‖ σ(z/T)). Validation and test have no
    teacher. arXiv:1503.02531.
    """

    teacher: Annotated[str, Field(pattern=r"^ckpt_\w{1,40}$", examples=["ckpt_01M87TBR8YBVRRY89CF68ZRX49"])]
    """Id of a checkpoint that has the dataset's classes, in any order, and its task. Its logits of each training image
    are computed once, and cached."""
    temperature: Annotated[float, Field(ge=0.1, le=100.0)] = 2.0
    """Temperature T: the higher, the more classes that are less likely count."""
    weight: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Share w of the teacher in the loss; at 1, labels are not used."""

    def build(self, task: Task) -> DistillationLoss:
        """Build the loss module, (loss of the labels, logits (B, C), soft targets (B, C)) → scalar."""
        from models.nn.losses import DistillationLoss

        return DistillationLoss(self.temperature, self.weight, is_multi_label=task == "multi_label")
