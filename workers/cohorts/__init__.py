"""Cohorts: many trials of the same shape, trained as one program.

Small Keras models spend their time in dispatch, not in arithmetic. Here the weights of K trials whose models differ
only in numbers (L1, L2, learning rate, dropout rate, initialisation) are the rows of one matrix, and one compiled
epoch trains them all. Read in this order: `layout` (a network as one row of numbers), `updates` (what an optimizer does
to such rows), `program` (an epoch of a stack, compiled once per depth), `stack` (the members of one stack: who is best,
who is over, who leaves), `training` (an assignment in slices).
"""
