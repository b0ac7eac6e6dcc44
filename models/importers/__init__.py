"""Import a backbone from an uploaded file: find its format, convert it, check it, and write its folder."""
