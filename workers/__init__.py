"""The processes that do the work: they claim it from the database and run it in a child process."""
