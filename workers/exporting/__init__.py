"""From a finished trial to what is served, each step in a process of its own.

Read in this order: `export`, `compare`, `regularization` and `verify` are the processes, `answering` how they are
asked; `finished` (a trial's model again from its artifact), `refit` (or trained once more on all rows), `scoring` (on
the parts of the data), `group_scores` (on groups of rows, whose spread tells the error), `layer` (what is told of one),
`signatures` and `saved_model` (as a folder that a server loads).
"""
