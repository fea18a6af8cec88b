"""What is written down: the database, and what is read out of it."""
