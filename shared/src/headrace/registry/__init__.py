"""Who is in the cluster and what runs where: records, the registry that keeps them, and the choice of a parent."""
