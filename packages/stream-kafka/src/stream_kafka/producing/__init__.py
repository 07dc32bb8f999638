"""How records go out: one lane per partition, batches, acknowledgements, transactions."""
