"""The tests mirror the tree; `e2e` drives the service from outside."""
