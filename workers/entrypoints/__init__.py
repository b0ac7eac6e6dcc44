"""Work of child processes, a module for each kind: `work(order, context)` needs torch or opens untrusted files."""
