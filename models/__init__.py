"""Networks: the catalog of techniques, backbones, surgery, the feature cache and training."""
