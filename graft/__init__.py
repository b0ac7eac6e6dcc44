"""What a user's own Python needs of Graft: the client and the command line."""
