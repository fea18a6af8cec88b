"""argv → verbs. `app.main` is the door; one file per group of verbs."""
