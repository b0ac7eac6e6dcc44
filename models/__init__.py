"""Transfer learning with timm's networks: recipes, backbones, cuts, cached features and training."""
