"""Exporters: a checkpoint's network in other formats, compared with the original in their own runtimes."""
