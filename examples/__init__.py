"""Studies to start from: data, models and study files. Run them from the root of the checkout."""
