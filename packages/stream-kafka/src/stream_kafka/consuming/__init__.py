"""How records come in: fetching, membership of a group, assignment, committed offsets."""
