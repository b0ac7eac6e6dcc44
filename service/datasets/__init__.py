"""Datasets: labelled pictures, uploaded and validated."""
