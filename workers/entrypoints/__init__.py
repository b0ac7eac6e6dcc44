"""Entry points of child processes, a file for each kind: `work(order)` needs torch or opens a stranger's file."""
