"""What containers print, use, run and have touched."""
