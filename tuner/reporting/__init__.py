"""What a study has found, as values, sentences, plots and logs."""
