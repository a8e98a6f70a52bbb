"""The machinery that measures: what a case is, how it is sampled, compared and reported."""
