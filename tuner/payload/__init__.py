"""What goes along with a study: the code and the data that only its author's program or folder has."""
