"""A study as plots, of what is ranked: trials, or configurations with their means."""
