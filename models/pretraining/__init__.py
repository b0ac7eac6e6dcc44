"""Pretraining of new layers before they learn their task, and of whole backbones."""
