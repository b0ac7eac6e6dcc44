"""Worker processes: claim work from the database and run it in child processes."""
