"""What policies measure of pairs, in numpy: the same ids and vectors give the same values in any order."""
