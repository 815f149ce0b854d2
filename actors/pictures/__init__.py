"""One decode per picture, and everything that is read off it."""
