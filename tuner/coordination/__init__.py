"""The coordinator: from a study's row to attempts on workers, and from their answers to rows."""
