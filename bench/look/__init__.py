"""The looking bench: the look stage beside other ways to do the same work, on the same pictures."""
