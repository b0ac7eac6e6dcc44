"""Fault injection: a real deployment, many small jobs, and everything that can go wrong (make faults)."""
