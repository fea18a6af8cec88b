"""An environment's containers -> watched: looked at while they run, and started again as their policies say. A process of its own."""
