"""Search spaces written for KerasTuner, Ray Tune and Optuna. The libraries are imported when they are used."""
