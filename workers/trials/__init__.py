"""One trial by itself: its Keras model or its own loop, what it is fed, what it reports, what is saved of it.

Read in this order: `models` (from parameters to a compiled model, by `hyperparameters` where a user builds it),
`training` (build, fit, stop early), `feeding` (batches in an order of their own), `passage` and `gate` (epoch by epoch,
as far as the coordinator lets it), `penalty` (the loss without it), `progress` (best epoch, patience), `checkpoints`,
`keras_files` and `member_arrays` (as files, and back), `graphs` (what TensorFlow would keep), `loop` (instead of a
model, the user's own training loop), `seeds`.
"""
