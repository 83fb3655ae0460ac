"""Which trials are stopped early, and why."""
