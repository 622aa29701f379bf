"""What a learned model has to beat: counts, chains, mixtures, a Hawkes process."""
