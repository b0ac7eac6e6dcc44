"""Datasets: labelled images, uploaded and validated."""
