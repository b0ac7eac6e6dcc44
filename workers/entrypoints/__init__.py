"""What children do, a file for each kind: `work(order)`, which needs torch or opens a stranger's file."""
