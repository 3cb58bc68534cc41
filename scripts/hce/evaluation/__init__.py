"""From predictions to scores, tests and intervals."""
