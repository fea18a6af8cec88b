"""The frozen values that flow from room to room. No effects, no imports but the standard library's own types."""
