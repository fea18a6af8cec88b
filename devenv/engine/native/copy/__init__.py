"""Files into and out of containers: whoever is in one may change what is being copied, and wishes us no good."""
