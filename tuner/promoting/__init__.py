"""From the trial that was chosen to a version that a server loads."""
