"""Cohorts: many trials of the same structure, trained as one program.

Small Keras models spend their time in dispatch, not in arithmetic. Here the weights of K trials whose models differ
only in numbers (learning rate, L1, L2, dropout rate, initialisation) are the rows of one matrix, and one compiled
epoch trains them all. Read in this order: `structure` (what a stack asks of its models), `stack` (the members of one
stack: who is best, who is over, who leaves), `batches` (what it is given to train on), `training` (an assignment in
slices), `placing` (who can be in a stack), `updates` (what an optimizer does to rows).

The `mlp` family: `layout` (a network as one row of numbers), `networks` (what a stack of them answers, and its
gradients), `program` (an epoch, compiled once), `family`.
Any other model: `lifting` (numbers out of a configuration), `columns` (where they stand), `optimizers` (their numbers
and schedules), `constraints`, `penalties`, `noise`, `lifted_program` (its epoch, compiled once per pattern), `lifted`,
`comparison` (with Keras, before it is trusted), `rehearsing` (what the dry run finds out).
"""
