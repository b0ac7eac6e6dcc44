"""Predictions: requests are passed on to predictors, which have the networks."""
