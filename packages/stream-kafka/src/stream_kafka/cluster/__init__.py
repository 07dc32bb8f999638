"""What a cluster says about its topics and partitions, and what it is told to change: metadata, ends, administration."""
